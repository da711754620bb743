"""Tables against the published rows, hand counts and a bootstrap written as a loop."""

import numpy as np
import pandas as pd
import pytest

from ngat import metrics
from ngat.data import TYPES
from ngat.errors import InputError
from ngat.evaluation import published, results, tables
from ngat.paper import style
from ngat.paper.figures import tables as figures

OF_OBJECTS = [measure for measure in tables.MEASURES if measure != "dice"]


def run(name="x", method="NGAT (split)", images=24, seed=0, types=TYPES, **history):
    """A run with random counts that fall as the threshold rises."""
    rng = np.random.default_rng(seed)
    rows, pixels = [], []
    for k in range(images):
        n_true, n_pred = rng.integers(1, 60, 2)
        tps = np.sort(rng.integers(0, min(n_true, n_pred) + 1, 10))[::-1]
        for t, tp in zip(metrics.THRESHOLDS, tps, strict=True):
            where = [f"image{k:02}", types[k % len(types)], "dsb2018", "test", method]
            rows.append([*where, t, tp, n_pred - tp, n_true - tp, n_true, n_pred])
        pixels.append([*where, 64, 64, n_true, n_pred, 0.5, (k + 1) / images])
    counts = pd.DataFrame(rows, columns=results.COUNT_COLUMNS)
    return results.Run(name, counts, pd.DataFrame(pixels, columns=results.PIXEL_COLUMNS), history)


def listed(counts):
    """The same counts as the metrics room wants them."""
    return {
        image_id: [metrics.Counts(*row) for row in rows[["threshold", "tp", "fp", "fn"]].values]
        for image_id, rows in counts.groupby("image_id")
    }


@pytest.mark.parametrize("system", published.COUNTS_AT_07)
def test_published_rows_follow_from_their_counts(system):
    pool = published.COUNTS_AT_07[system]
    (row,) = [row for row in published.TABLE_1 if row.system == system]
    again = metrics.pooled(*pool)
    assert [f"{value:.4f}" for value in again] == [
        f"{value:.4f}" for value in (row.recall, row.missed, row.extra)
    ]
    assert pool.tp + pool.fn == sum(stratum.objects for stratum in published.STAGE_2.values())


def test_published_facts_agree_with_each_other():
    assert sum(s.images for s in published.STAGE_2.values()) == 106
    assert sum(s.objects for s in published.STAGE_2.values()) == 3717
    assert list(published.STAGE_2) == list(TYPES)
    for row in published.TABLE_1:
        assert row.recall + row.missed == pytest.approx(1)
        assert list(published.TABLE_2[row.system]) == list(TYPES)
    # Table 2, weighted by each type's number of images, gives the mean over images, less what
    # cutting (not rounding) to two digits takes away: between nothing and one hundredth.
    for system, expected in published.F1_AT_07.items():
        mean = sum(published.STAGE_2[t].images * v for t, v in published.TABLE_2[system].items())
        assert 0 <= expected - mean / 106 < 0.01, system


def test_table1_equals_the_metrics_room():
    counts = run().counts
    table = tables.table1([run(parameters=110_000, minutes=12.5)], resamples=50)
    assert len(table) == 6
    assert (table["measured on"][:5] == "published, stage 2").all()
    mine = table.iloc[5]
    expected = metrics.summarise(listed(counts).values())
    assert mine["measured on"] == "dsb2018, test"
    assert mine["dice"] == pytest.approx((1 + 24) / 2 / 24)  # of 1/24, 2/24 … 24/24
    assert table["dice"][:5].isna().all()  # the published table has none
    for measure in ("images", "objects", *OF_OBJECTS):
        assert mine[measure] == pytest.approx(getattr(expected, measure)), measure
    assert mine["parameters"] == 110_000
    assert len(tables.table1([run()], with_published=False, resamples=50)) == 1


def test_table2_equals_the_metrics_room():
    counts = run().counts
    types = dict(zip(counts["image_id"], counts["type"], strict=True))
    f1 = {image: metrics.counts_at(c, 0.7).f1 for image, c in listed(counts).items()}
    table = tables.table2([run()], resamples=50)
    mine = table[table["method"] == "NGAT (split)"].set_index("type")
    assert list(mine.index) == list(TYPES)
    for name in TYPES:
        of_type = [value for image, value in f1.items() if types[image] == name]
        assert mine.loc[name, "f1"] == pytest.approx(sum(of_type) / len(of_type))
    paper = table[table["method"] == published.PAPER].set_index("type")
    assert paper["f1"].to_dict() == published.TABLE_2[published.PAPER]
    assert (paper["measured on"] == "published, stage 2").all()


def test_bootstrap_equals_a_loop():
    """The vectorised intervals against images drawn one by one, with another generator."""
    table = tables.table1([run()], with_published=False, resamples=4000).iloc[0]
    images = listed(run().counts)
    names = sorted(images)
    rng = np.random.default_rng(99)
    rows = [
        metrics.summarise([images[names[k]] for k in rng.integers(0, len(names), len(names))])
        for _ in range(600)
    ]
    for measure in OF_OBJECTS:
        low, high = np.percentile([getattr(row, measure) for row in rows], [2.5, 97.5])
        width = high - low
        assert table[f"{measure} low"] == pytest.approx(low, abs=0.12 * width), measure
        assert table[f"{measure} high"] == pytest.approx(high, abs=0.12 * width), measure
        assert table[f"{measure} low"] < table[measure] < table[f"{measure} high"]


def test_bootstrap_is_seeded():
    one, again, other = (tables.table1([run()], seed=seed, resamples=200) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert one["score low"].iloc[-1] != other["score low"].iloc[-1]
    runs = [run(types=("purple_tissue",))]
    one, again, other = (tables.table2(runs, seed=seed, resamples=200) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert one["low"].iloc[-1] != other["low"].iloc[-1]


def test_the_seed_reaches_both_tables_that_are_written(tmp_path):
    runs = [run(types=("purple_tissue",))]
    tables.write_tables(runs, tmp_path, seed=3)
    for name, table in (("table1", tables.table1), ("table2", tables.table2)):
        back, expected = pd.read_csv(tmp_path / f"{name}.csv"), table(runs, seed=3)
        bounds = [column for column in expected if column.endswith("low")]
        pd.testing.assert_frame_equal(back[bounds], expected[bounds], rtol=1e-5)


def test_intervals_are_of_2000_resamples_of_seed_0():
    """Both tables by default: the middle 95 % of means over images drawn with numpy's generator."""
    mine = run(types=("purple_tissue",))
    drawn = np.random.default_rng(0).multinomial(24, [1 / 24] * 24, 2000) / 24
    images = [counts for _, counts in sorted(listed(mine.counts).items())]
    average = [metrics.image_score(counts).average_f1 for counts in images]
    at = [metrics.counts_at(counts, 0.7).f1 for counts in images]
    (one,) = tables.table1([mine], with_published=False).to_dict("records")
    (two,) = tables.table2([mine], with_published=False).to_dict("records")
    bounds = [one["average_f1 low"], one["average_f1 high"]]
    assert bounds == pytest.approx(np.quantile(drawn @ average, [0.025, 0.975]))
    assert [two["low"], two["high"]] == pytest.approx(np.quantile(drawn @ at, [0.025, 0.975]))


def test_one_image_has_no_interval():
    table = tables.table2([run(images=1)], with_published=False)
    assert table[["low", "high"]].isna().all(axis=None)
    assert "[" not in tables.markdown(tables.wide(table))


def test_composition_and_wide():
    runs = [run(), run("y", "NGAT (components)", seed=3)]
    composed = tables.composition(runs)
    assert len(composed) == 10  # five types published, five measured; two methods, one data set
    assert composed["images"].tolist() == [72, 16, 5, 12, 1, 5, 5, 5, 5, 4]
    # Annotated ones: all that were found or missed, at any threshold.
    counts = runs[0].counts[runs[0].counts["threshold"] == 0.5]
    objects = (counts["tp"] + counts["fn"]).groupby(counts["type"]).sum()
    published_objects = [stratum.objects for stratum in published.STAGE_2.values()]
    assert composed["objects"].tolist() == published_objects + [objects[name] for name in TYPES]
    wide = tables.wide(tables.table2(runs, resamples=20))
    assert wide["method"].tolist() == [
        *published.TABLE_2,
        "NGAT (split)",
        "NGAT (components)",
    ]
    assert list(wide.columns) == ["method", "measured on", *TYPES]
    assert wide.loc[4, "purple_tissue"] == "0.72"


def test_markdown_by_hand():
    table = pd.DataFrame({"a_b": ["x|y", "z"], "n": [1234567, 2], "v": [0.5, np.nan]})
    assert tables.markdown(table) == (
        "| a b | n | v |\n| --- | ---: | ---: |\n| x\\|y | 1234567 | 0.5 |\n| z | 2 |  |\n"
    )


def test_tables_are_written_alike_each_time(tmp_path):
    runs = [run(parameters=110_000, minutes=3, hardware="a CPU, 2 cores")]
    first = tables.write_tables(runs, tmp_path / "a")
    second = tables.write_tables(runs, tmp_path / "b")
    assert [f.name for f in first] == [
        f"{name}.{suffix}" for name in ("table1", "table2", "types") for suffix in ("csv", "md")
    ]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    page = (tmp_path / "a" / "table1.md").read_text()
    assert "| NGAT (the paper): GAT | published, stage 2 | 106 | 3717 | 0.6762 | 0.7384 |" in page
    assert "| 110,000 | 3 | a CPU, 2 cores |" in page
    back = pd.read_csv(tmp_path / "a" / "table1.csv")
    assert back["recall"].tolist()[:5] == [row.recall for row in published.TABLE_1]


def test_runs_that_cannot_be_told_apart_are_refused():
    with pytest.raises(InputError, match="two runs are called 'NGAT"):
        tables.table2([run(), run("y")])
    with pytest.raises(InputError, match="none of the five"):
        tables.table2([run(types=("blue_tissue",))])


def test_a_run_of_ones_own_pictures_stands_in_table_1_alone(tmp_path):
    own, ours = run(name="a", method="mine", types=["own"]), run()
    assert list(tables.table1([own, ours], with_published=False)["method"]) == ["mine", ours.method]
    pd.testing.assert_frame_equal(tables.table2([own, ours]), tables.table2([ours]))
    assert len(tables.write_tables([own], tmp_path)) == 6


def test_radar_shows_the_numbers_of_table2():
    table = tables.table2([run()], resamples=20)
    fig = figures.radar(table, table["method"].unique())
    (axes,) = fig.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == [*published.TABLE_2, "NGAT (split)"]
    for method, line in lines.items():
        values = table[table["method"] == method]["f1"].tolist()
        np.testing.assert_allclose(line.get_ydata(), [*values, values[0]])
    legend = [text.get_text() for text in fig.legends[0].get_texts()]
    assert legend[0] == "published, stage 2"
    assert legend[-2:] == ["dsb2018, test", "NGAT (split)"]
    assert axes.get_xticklabels()[0].get_text() == "small fluorescent\nn = 72 / 5"
    assert len(figures.radar(table, ["topcoders"]).axes[0].lines) == 1


def test_figures_are_the_same_bytes_and_keep_no_time(tmp_path):
    table = tables.table2([run()], resamples=20)
    first = style.save(figures.radar(table, ["topcoders"]), "figure7", tmp_path / "a")
    second = style.save(figures.radar(table, ["topcoders"]), "figure7", tmp_path / "b")
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert b"CreationDate" not in first[1].read_bytes()
    assert b"Software" not in first[0].read_bytes()
    with pytest.raises(InputError, match="plain name"):
        style.save(figures.radar(table, ["topcoders"]), "../figure7", tmp_path)


def test_colours_tell_types_and_methods_apart():
    assert len(set(style.TYPE_COLOURS.values())) == len(TYPES)
    looks = style.method_styles(f"method {k}" for k in range(14))
    assert len({(look["color"], look["linestyle"]) for look in looks.values()}) == 14


def test_a_method_of_no_sort_has_none_of_their_colours_while_there_are_others():
    looks = style.method_styles(["companion", "paper", "centred"])
    assert len({look["color"] for look in looks.values()}) == 3
    every = [*style._SORTS, "one", "two"]  # which leave no colour
    assert set(style.method_styles(every)) == set(every)


def test_a_method_has_one_colour_in_every_figure():
    alone = style.method_styles(["unet-gpu (split)"])["unet-gpu (split)"]["color"]
    names = ["NGAT (the paper)", "companion (split)", "unet", "companion, flips (split)"]
    looks = style.method_styles(names)
    assert looks["unet"]["color"] == alone
    ours, flipped = looks[names[1]], looks[names[3]]
    assert ours["color"] == flipped["color"]
    assert ours["linestyle"] == "-" != flipped["linestyle"]
    assert ours["linewidth"] > 2
    assert style.style_rank("companion (split)") < style.style_rank("unet-gpu (split)")
    assert style.style_rank("Otsu") < style.style_rank("unknown")
