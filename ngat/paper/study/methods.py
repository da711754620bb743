"""Which methods a figure shows that has room for a few."""

from __future__ import annotations

from collections.abc import Mapping

from ngat.config import PRESETS
from ngat.paper.study.segmentation import MethodNuclei, headline, sort_of

LITERAL = "paper"  # the preset that reads the paper literally


def one_of_each(found: Mapping[str, MethodNuclei]) -> list[str]:
    """Ours first, another network, StarDist and Cellpose, one that learns nothing, the literal one.

    Of each sort the one that is best on validation pictures, without flips where there is one: test
    results never decide (:func:`ngat.paper.study.segmentation.headline`).
    """
    sorts: dict[str, dict[str, MethodNuclei]] = {}
    order = ["ours", "network", "StarDist", "Cellpose", "rest", LITERAL, "untrained"]
    for method, nuclei in found.items():
        sorts.setdefault(_sort(nuclei), {})[method] = nuclei
    return [headline(sorts[sort]).method for sort in order if sort in sorts]


def _sort(nuclei: MethodNuclei) -> str:
    name = sort_of(nuclei.method)
    if nuclei.family == "ngat":
        return LITERAL if name == LITERAL else "ours"
    if nuclei.family == "untrained":
        return "untrained"
    for peer in ("StarDist", "Cellpose"):
        if name.startswith(peer):
            return peer
    return "network" if name.split("-")[0] in PRESETS else "rest"
