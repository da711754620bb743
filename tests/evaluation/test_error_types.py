"""Error types of nuclei by their properties, against cases counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ngat.cli.study import error_types as command
from ngat.data import Sample, load
from ngat.errors import InputError
from ngat.evaluation import error_types as study
from ngat.evaluation.error_types import GAP, OUTCOMES, areas, committed, count, outcomes, touching
from ngat.evaluation.evaluator import evaluate
from ngat.evaluation.results import read_counts
from ngat.paper.figures.tables import lost


def strip(*lengths: tuple[int, int, int], rows: int = 4, width: int = 60) -> np.ndarray:
    """Bars (label, first column, behind the last) over all rows."""
    image = np.zeros((rows, width), dtype=np.int32)
    for label, start, stop in lengths:
        image[:, start:stop] = label
    return image


# Labels out of order and with gaps; 5 and 2 touch, 9 is alone.
TRUE = strip((5, 0, 10), (2, 10, 20), (9, 40, 60))


def test_every_nucleus_has_its_fate_in_the_order_of_labels() -> None:
    # One object over 2 and 5, and two halves of 9.
    found = outcomes(strip((1, 0, 20), (8, 40, 50), (3, 50, 60)), TRUE)
    assert [OUTCOMES[k] for k in found.of_each] == ["merged", "merged", "split"]
    assert found.extra == 0
    assert areas(TRUE).tolist() == [40, 40, 80]
    other = outcomes(strip((4, 0, 10), (1, 22, 38)), TRUE)
    assert [OUTCOMES[k] for k in other.of_each] == ["missed", "found", "missed"]
    assert other.extra == 1


@pytest.mark.parametrize(("between", "touch"), [(0, True), (GAP, True), (GAP + 1, False)])
def test_nuclei_touch_across_a_small_gap(between: int, touch: bool) -> None:
    labels = strip((3, 0, 10), (1, 10 + between, 20), (7, 40, 50))
    assert touching(labels).tolist() == [touch, touch, False]
    assert touching(labels.T.copy()).tolist() == [touch, touch, False]
    assert touching(np.zeros((5, 5), dtype=int)).size == 0


def sample(name: str, labels: np.ndarray = TRUE, kind: str = "purple_tissue") -> Sample:
    picture = np.zeros((*labels.shape, 3), np.uint8)
    return Sample(name, picture, labels, kind, name, "test")


def samples() -> list[Sample]:
    return [sample("a"), sample("b")]


def test_counts_add_up_by_what_nuclei_are() -> None:
    nuclei = {"all": {"a": TRUE, "b": TRUE}, "half": {"a": TRUE, "b": 0 * TRUE}}
    table = count(nuclei, samples(), progress=False)
    assert table[list(OUTCOMES)].to_numpy().sum() == 2 * 2 * 3
    touch = study.by(table, "touching").set_index(["method", "touching"])
    assert touch.loc[("all", True), "found"] == 4
    assert touch.loc[("half", True)].tolist() == [2, 0, 0, 2, 4]
    assert touch.loc[("half", False)].tolist() == [1, 0, 0, 1, 2]
    assert set(table["size"]) == {study.SIZES[0]}
    with pytest.raises(InputError, match=r"half: its result files lack 1 .* b"):
        count({"half": {"a": TRUE}}, samples(), progress=False)


def test_sizes_part_at_their_lower_ends() -> None:
    # 96, 100, 296, 300, 996 and 1000 pixels.
    ends = np.cumsum([0, 24, 25, 74, 75, 249, 250]) + 10 * np.arange(7)
    pairs = zip(ends[:-1] + 10, ends[1:], strict=True)
    sizes = strip(*((n, *pair) for n, pair in enumerate(pairs, start=1)), width=800)
    assert areas(sizes).tolist() == [96, 100, 296, 300, 996, 1000]
    table = count({"x": {"a": sizes}}, [sample("a", sizes)], progress=False)
    nuclei = study.by(table, "size").set_index("size")["nuclei"]
    assert nuclei.to_dict() == dict(zip(study.SIZES, (1, 2, 2, 1), strict=True))


def test_what_a_nucleus_is_belongs_to_its_own_fate() -> None:
    """Labels from right to left, so that neither order of columns is that of labels."""
    labels = strip((9, 0, 10), (5, 10, 20), (2, 30, 60))
    assert areas(labels).tolist() == [120, 40, 40]
    assert touching(labels).tolist() == [False, True, True]
    only = {"x": {"a": np.where(labels == 2, labels, 0), "b": labels}}
    other = sample("b", labels, "small_fluorescent")
    table = count(only, [sample("a", labels), other], progress=False)
    (found,) = table[(table["found"] > 0) & (table["type"] == "purple_tissue")].to_dict("records")
    assert (found["size"], found["touching"]) == (study.SIZES[1], False)
    by_type = study.by(table, "type").set_index("type")
    assert by_type["nuclei"].to_dict() == {"purple_tissue": 3, "small_fluorescent": 3}
    assert by_type["found"].to_dict() == {"purple_tissue": 1, "small_fluorescent": 3}


def test_the_command_agrees_with_the_counts_of_its_runs(tmp_path: Path) -> None:
    pictures = load("rings", "test")
    evaluate(pictures, tmp_path, data="rings", method="otsu", progress=False)
    counts = read_counts(tmp_path / "rings-test-otsu.counts.csv")
    at_half = counts[counts["threshold"] == 0.5]
    nuclei = committed(tmp_path, ["rings-test-otsu"])
    table = count(nuclei, pictures, progress=False)
    assert set(table["method"]) == {"Otsu"}
    assert table["found"].sum() == at_half["tp"].sum()
    assert table[["merged", "split", "missed"]].to_numpy().sum() == at_half["fn"].sum()
    out = tmp_path / "error_types.csv"
    command(out=out, runs="rings-test-otsu", results=tmp_path, data="rings", quiet=True)
    assert study.read(out).equals(table)
    assert out.with_suffix(".json").exists()
    with pytest.raises(InputError, match="rings-test-else"):
        committed(tmp_path, ["rings-test-else"])
    # Else the second run would replace the first without a word.
    evaluate(pictures[:1], tmp_path, data="rings", method="otsu", name="again", progress=False)
    with pytest.raises(InputError, match="again: 'Otsu' is there already"):
        committed(tmp_path, ["rings-test-otsu", "again"])


def test_bars_are_shares_of_what_was_annotated(tmp_path: Path) -> None:
    nuclei = {"half": {"a": TRUE, "b": 0 * TRUE}}
    path = tmp_path / "error_types.csv"
    count(nuclei, samples(), progress=False).to_csv(path, index=False)
    (ax,) = lost(study.read(path)).axes
    assert ax.get_title() == "half"
    assert len(ax.get_yticks()) == 2 + 1 + 1, "alone and touching, one size, one type"
    widths = [bar.get_width() for bar in ax.patches]
    assert sum(widths) == pytest.approx(100 * len(ax.get_yticks()))
    assert widths[0] == pytest.approx(50)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no table of error types"):
        study.read(path)
