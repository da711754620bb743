"""Few methods of many: one of each sort, by validation."""

from __future__ import annotations

import pandas as pd

from ngat.paper.study.methods import one_of_each
from ngat.paper.study.segmentation import MethodNuclei


def test_one_of_each_sort_is_chosen_by_validation() -> None:
    def nuclei(name: str, family: str, score: float, tta: bool = False) -> MethodNuclei:
        return MethodNuclei(name, family, pd.DataFrame(), {}, tta, (score, -1.0))

    found = [
        nuclei("companion (split)", "ngat", 0.6),
        nuclei("companion, flips (split)", "ngat", 0.7, tta=True),
        nuclei("companion (components)", "ngat", 0.5),
        nuclei("paper, earlier training (split)", "ngat", 0.9),
        nuclei("unet-gpu (split)", "unet-gpu (split)", 0.6),
        nuclei("fpn-gpu (split)", "fpn-gpu (split)", 0.4),
        nuclei("Cellpose 3", "Cellpose 3", 0.1),
        nuclei("StarDist", "StarDist", 0.1),
        nuclei("Otsu", "Otsu", 0.2),
        nuclei("classical, one setting", "classical, one setting", 0.3),
    ]
    assert one_of_each({run.method: run for run in found}) == [
        "companion (split)",
        "unet-gpu (split)",
        "StarDist",
        "Cellpose 3",
        "classical, one setting",
        "paper, earlier training (split)",
    ]
    untrained = nuclei("untrained smoke (split)", "untrained", 0.0)
    assert one_of_each({"x": untrained}) == [untrained.method]
