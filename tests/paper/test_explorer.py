"""The attention explorer shows the network's own weights and positions, node by node."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ngat.attention import TapGroup, attention_weights
from ngat.config import preset
from ngat.data.normalize import as_tensor
from ngat.model import NGAT, PyramidGATConv
from ngat.paper.figures import explorer as figures
from ngat.paper.study import explorer as study

FIRST = {"king": 0, "child": 9, "parent": 13}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    y, x = np.mgrid[:72, :100]
    discs = sum(((x - a) ** 2 + (y - b) ** 2 < 80) for a, b in ((20, 20), (60, 30), (70, 60)))
    noise = np.random.default_rng(0).integers(0, 40, (72, 100, 3))
    return (60 + 150 * np.asarray(discs)[:, :, None] + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=["companion", "paper"])
def model(request: pytest.FixtureRequest) -> NGAT:
    torch.manual_seed(1)
    made = NGAT(preset(request.param, channels=8, heads=2, engine="reference").model).eval()
    with torch.no_grad():  # so that nodes move: ξ starts as the identity
        for parameter in made.plasticity.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def test_weights_and_positions_of_a_pixel_are_the_networks(
    model: NGAT, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = study.explore(model, image, "discs", magnification=1.0, side=32)
    assert one.image.shape == (32, 32, 3)
    assert np.array_equal(
        one.image,
        image[one.corner[0] : one.corner[0] + 32, one.corner[1] : one.corner[1] + 32],
    )
    seen: list[tuple[int, list[TapGroup], torch.Tensor]] = []
    honest = PyramidGATConv.softmaxes

    def noted(self, maps, level, moves):  # type: ignore[no-untyped-def]
        found = honest(self, maps, level, moves)
        seen.extend((level, groups, er) for groups, er in found)
        return found

    monkeypatch.setattr(PyramidGATConv, "softmaxes", noted)
    with torch.no_grad():
        output = model(as_tensor(image, model.config.contrast))
    top, left = one.corner
    row, column = 13, 21
    stored = figures.data([one], "here")["pictures"][0]["levels"]
    for m, level in enumerate(stored):
        r, c = (top + row) >> m, (left + column) >> m
        expected = np.zeros((2, 14))
        expected[:, 13] = m < len(stored) - 1  # a lone parent has no softmax
        for at, groups, er in seen:
            if at != m:
                continue
            alpha = attention_weights(groups, er)[0, :, :, r, c].detach().double().numpy()
            first = 0
            for group in groups:
                count = group.tap.shape[1]
                place = FIRST[group.relation]
                expected[:, place : place + count] = alpha[:, first : first + count]
                first += count
        shown = figures.weights(level)[:, :, row >> m, column >> m]
        assert np.abs(shown - expected).max() <= 0.51 / figures.STEPS
        longer = max(image.shape[:2])
        at_now = output.positions[m][0, :, r, c].double().numpy() * longer - [left, top, 0]
        assert one.levels[m].position[:, row >> m, column >> m] == pytest.approx(at_now)
        home = [(c + 0.5) * 2**m - left, (r + 0.5) * 2**m - top, 2**m / 2**0.5]
        assert one.levels[m].home[:, row >> m, column >> m] == pytest.approx(home)
        assert m == 0 or np.abs(one.levels[m].position - one.levels[m].home).max() > 1e-3


def test_page_is_one_file_that_asks_nobody(model: NGAT, image: np.ndarray, tmp_path: Path) -> None:
    one = study.explore(model, image, "discs </script>", magnification=1.0, side=16)
    text = figures.write_page([one], "here", tmp_path / "page.html").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"'\s]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(link|img|iframe)\b|import\s*\(|\bfetch\(", text)
    assert text.count("</script>") == 1
    content = re.search(r'getElementById\("explorer"\), (\{.*\})\);', text)
    assert content
    assert json.loads(content[1])["pictures"][0]["name"] == "discs </script>"


def test_sixteen_bits_and_one_channel_are_shown(model: NGAT, image: np.ndarray) -> None:
    grey = image[:, :, 0].astype(np.uint16) * 200
    assert study.shown(grey, (36, 50)).shape == (36, 50, 3)
    assert study.shown(grey, (36, 50)).max() > 200
