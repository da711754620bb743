"""What prose says in numbers is what files say: a claim fails here when its number moves.

Each claim is a sentence's words with numbers in them, the page it stands on, and the numbers
computed anew, with as many digits as the sentence has.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from ngat import metrics
from ngat.config import preset
from ngat.evaluation import paired, published, tables
from ngat.evaluation.results import runs_in
from ngat.magnification import SIZE
from ngat.paper.study import dataset, effects
from ngat.paper.study import tables as study
from ngat.paper.study.loss import field_map
from ngat.training.weights import load_weights

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "data" / "results"


def facts() -> pd.DataFrame:
    return dataset.read_pictures(RESULTS / "dsb2018.pictures.csv")


def sizes(part: str) -> pd.Series:
    table = facts()
    return dataset.image_sizes(table)[table["split"] == part]


def rings() -> list[float]:
    stored = json.loads((RESULTS / "rings.json").read_text(encoding="utf-8"))
    scores = [round(stored[name]["dice"], 3) for name in ("companion", "paper")]
    return [*scores, *(stored[name]["parameters"] for name in ("companion", "paper"))]


def joint() -> list[float]:
    table = pd.read_csv(RESULTS / "synthetic" / "ablations.csv").set_index("seed")
    base = table.loc[table["factor"] == "base", "dice"]
    other = table.loc[(table["factor"] == "relations") & (table["variant"] == "joint"), "dice"]
    return [round((base - other).mean(), 3), table["steps"].iloc[0]]


def on_real(*variants: tuple[str, str], score: str = "average_f1") -> list[float]:
    """A score of ablations on real pictures, first seed."""
    table = pd.read_csv(RESULTS / "ablations.csv").query("type == 'all' and seed == 0")
    found = table.set_index(["factor", "variant"])[score]
    return [round(found[variant], 3) for variant in variants]


def joint_on_real() -> list[float]:
    variants = ("relations", "joint"), ("base", "base")
    other, base = on_real(*variants)
    return [round(base - other, 3), *on_real(*variants, score="dice")]


def positions_on_real() -> list[float]:
    names = ("base", "base"), ("position term", "linear"), ("position term", "none")
    table = pd.read_csv(RESULTS / "ablations.csv").query("type == 'all' and factor == 'base'")
    ends = [round(end, 3) for end in table["average_f1"].agg(["min", "max"])]
    return [*on_real(*names), *on_real(*names, score="dice"), *ends]


def narrow_on_real() -> list[float]:
    names = [("schedule", "synchronous"), ("channels", "12")]
    table = pd.read_csv(RESULTS / "ablations.csv").set_index(["factor", "variant"])
    synchronous, narrow = (table.loc[[name], "parameters"].iloc[0] for name in names)
    assert narrow < synchronous
    return [*on_real(*names), *on_real(*names, score="dice")]


def free_numbers() -> list[float]:
    """Numbers of both presets that the paper does not give; the companion has no dropout."""
    paper, ours = preset("paper"), preset("companion")
    assert ours.model.dropout == 0
    (steps,) = {p.model.plasticity_steps for p in (paper, ours)}
    (loss,) = {(p.loss.gamma, p.loss.alpha) for p in (paper, ours)}
    models = (paper.model, ours.model)
    sizes = [(m.levels, m.depth, m.channels, m.heads) for m in models]
    return [*sizes[0], paper.model.dropout, *sizes[1], steps, *loss]


def negative() -> list[float]:
    """Per cent of the unit square on which the sum of eq. 24 is negative, at z = 1."""
    return [round(100 * float((field_map("sum", 1.0, points=1001) < 0).mean()))]


def touching() -> list[float]:
    test = facts().query("split == 'test'")
    return [round(10 * np.average(test["touching"], weights=test["nuclei"]))]


def masks() -> list[float]:
    table = facts()
    test = int(table.loc[table["split"] == "test", "nuclei"].sum())
    objects = sum(stratum.objects for stratum in published.STAGE_2.values())
    return [objects, test]


def patches() -> list[float]:
    train = preset("companion").train
    assert train.sized
    assert train.tail == pytest.approx(1 / 7, abs=0.01)
    return [SIZE]


def average_f1_of(name: str) -> float:
    """Average F1 of a file of counts."""
    counts = pd.read_csv(RESULTS / f"{name}-split.counts.csv")
    return float(metrics.f1(counts["tp"], counts["fp"], counts["fn"]).mean())


def last_of_each() -> list[float]:
    """Average F1 in the tables: networks trained on a GPU, and rows with flips."""
    names = "companion-gpu", "unet-gpu", "fpn-gpu", "companion-flips", "unet-gpu-flips"
    return [round(average_f1_of(f"dsb2018-test-{name}"), 3) for name in names]


def flips() -> list[float]:
    """Average F1 without and with flips, on validation and on the test."""
    return [
        round(average_f1_of(f"{part}-{name}{flips}"), 3)
        for name in ("companion", "unet-gpu")
        for part in ("validation/dsb2018-val", "dsb2018-test")
        for flips in ("", "-flips")
    ]


def average_f1() -> list[float]:
    (paper,) = [row for row in published.TABLE_1 if row.system == published.PAPER]
    return [round(average_f1_of("dsb2018-test-companion"), 2), round(paper.average_f1, 2)]


def on_gpu() -> list[float]:
    """Minutes of each training that shared the GPU; the U-Net's average F1 is the highest."""
    names = ("companion", "unet", "fpn")
    logs = [pd.read_csv(ROOT / "data" / "training" / "gpu" / name / "log.csv") for name in names]
    means = {name: average_f1_of(f"dsb2018-test-{name}-gpu") for name in names}
    assert max(means, key=means.__getitem__) == "unet"
    runs = {
        run.method: run
        for run in runs_in(RESULTS)
        if run.method in ("companion-gpu (split)", "unet-gpu (split)")
    }
    (less,) = paired.paired([*runs.values()], "companion-gpu (split)").to_dict("records")
    assert less["low"] < 0 < less["high"]  # undecided
    (minutes,) = {round(log["minutes"].iloc[-1]) for log in logs}
    return [minutes]


def seeds() -> list[float]:
    """Minutes of each run, and mean average F1 of U-Net and companion, whose order is undecided."""
    runs = pd.read_csv(RESULTS / "seeds.csv").query("type == 'all'")
    scores = runs.pivot(index="seed", columns="network", values="average_f1")
    assert len(scores) == 3
    low, high = effects.student_interval(scores["companion"] - scores["unet"])
    assert low < 0 < high
    (minutes,) = {round(seconds / 60) for seconds in runs["seconds"]}
    return [minutes, round(scores["unet"].mean(), 2), round(scores["companion"].mean(), 2)]


def small_fluorescent() -> list[float]:
    share = (facts().query("split == 'train'")["type"] == "small_fluorescent").mean()
    return [round(3 * share) / 3]


def pink_and_purple() -> list[float]:
    train = facts().query("split == 'train' and type == 'pink_and_purple_tissue'")
    return [len(train), train["group"].nunique()]


def last_scored() -> list[float]:
    """Minutes of the weights in the tables, and what they score."""
    beside = RESULTS / "dsb2018-test-companion-split.json"
    trained = json.loads(beside.read_text(encoding="utf-8"))["training"]
    return [round(trained["minutes"]), round(average_f1_of("dsb2018-test-companion"), 3)]


def minutes_of_a_core() -> list[float]:
    found = []
    for name in ("companion-split", "stardist", "cellpose"):  # the peers have the same
        stored = json.loads((RESULTS / f"dsb2018-test-{name}.json").read_text(encoding="utf-8"))
        assert stored["hardware"].endswith("1 core")
        found.append(round(stored["minutes"]))
    assert found[1] == found[2]
    unet = json.loads((RESULTS / "dsb2018-test-unet-split.json").read_text(encoding="utf-8"))
    trained = json.loads((RESULTS / "dsb2018-test-companion-split.json").read_text("utf-8"))
    machines = {run["training"]["hardware"] for run in (unet, trained)}
    assert len(machines) == 2
    assert all(machine.endswith("1 core") for machine in machines)
    assert f" --minutes {found[0]} " in unet["training"]["command"]
    return found[:2]


def beside_the_unet() -> list[float]:
    """The companion's average F1 less the U-Net's, and its paired interval."""
    runs = [run for run in runs_in(RESULTS) if run.method in ("companion (split)", "unet (split)")]
    (less,) = paired.paired(runs, "companion (split)").to_dict("records")
    return [round(less[key], 3) for key in ("difference", "low", "high")]


def literal_reading() -> list[float]:
    path = RESULTS / "dsb2018-test-paper-split.json"
    return [round(json.loads(path.read_text(encoding="utf-8"))["minutes"])]


def norms() -> list[float]:
    """Minutes of both trainings of the literal network, and average F1 with either norm."""
    found: dict[str, pd.Series] = {}
    for name in ("batch", "group"):
        folder = ROOT / "data" / "training" / "norms" / name
        assert json.loads((folder / "config.json").read_text())["model"]["norm"] == name
        (found[name],) = (row for _, row in pd.read_csv(folder / "validation.csv").iterrows())
    (minutes,) = {round(row["minutes"]) for row in found.values()}
    return [minutes, *(round(row["average_f1"], 2) for row in found.values())]


def engines() -> list[float]:
    """One thread's time of the reference engine over the CPU engine's, least and most."""
    ratios = []
    for name in ("benchmark_network", "benchmark_network_avx2"):
        table = pd.read_csv(RESULTS / f"{name}.csv").query("quantity == 'time_ms' and threads == 1")
        times = table[table["pass"] == "inference"].set_index("engine")["value"]
        ratios.append(times["reference"] / times["cpu"])
    return [round(min(ratios)), round(max(ratios))]


def slide() -> list[float]:
    """Side of the largest drawn slide, minutes and GiB with one worker; a quarter is tissue."""
    table = pd.read_csv(RESULTS / "benchmark_scaling.csv").query("workers == 1")
    (row,) = table[table["side"] == table["side"].max()].to_dict("records")
    assert row["tissue"] == 0.25
    return [row["side"], round(row["seconds"] / 60, 1), round(row["peak_mib"] / 1024, 1)]


def inverted() -> list[float]:
    table = pd.read_csv(RESULTS / "robustness.csv").set_index("change")
    return [-round(table.loc["inverted", "difference"], 3)]


def few() -> list[float]:
    """Large fluorescent pictures and nuclei of the test, and the nuclei of each."""
    large = published.STAGE_2["large_fluorescent"]
    return [large.objects, large.images, large.objects / large.images]


NUMERALS = {"one": 1, "three": 3, "four": 4, "five": 5, "nine": 9, "twelve": 12, "fourteen": 14}
WORDS = {**NUMERALS, "two thirds": 2 / 3}
CLAIMS: dict[str, tuple[str, str, Callable[[], list[float]]]] = {
    "rings": (
        "notebooks/LEDGER.md",
        r"reaches a Dice of (\.\d+) and the literal network (\.\d+); .*\(([\d,]+) against "
        r"([\d,]+) parameters\)",
        rings,
    ),
    "parameters of both networks": (
        "notebooks/03_attention_and_network.ipynb",
        r"numbers of parameters too \(([\d,]+) against ([\d,]+), the table of 3\.6",
        lambda: rings()[3:1:-1],
    ),
    "joint": (
        "notebooks/LEDGER.md",
        r"a joint softmax is (\.\d+) of Dice lower after (\d+) steps",
        joint,
    ),
    "joint, on real pictures": (
        "notebooks/LEDGER.md",
        r"on real ones, after 400 steps and with one seed, (\.\d+) of average F1 "
        r"\(Dice (\.\d+) instead of (\.\d+)\)",
        joint_on_real,
    ),
    "schedules, on real pictures": (
        "notebooks/LEDGER.md",
        r"synchronous layers reach an average F1 of (\.\d+), and V-cycles of 12 channels, which "
        r"have fewer parameters, (\.\d+) \(Dice (\.\d+) and (\.\d+)\)",
        narrow_on_real,
    ),
    "position terms, on real pictures": (
        "notebooks/LEDGER.md",
        r"average F1 is (\.\d+) with it, (\.\d+) with a linear term and (\.\d+) without any "
        r"\(notebook 8; Dice (\.\d+), (\.\d+), (\.\d+)\); three seeds with it reach (\.\d+) to "
        r"(\.\d+)",
        positions_on_real,
    ),
    "free numbers": (
        "notebooks/LEDGER.md",
        r"\*paper\* has (\d) levels, (\d) layers, (\d+) channels, (\d) heads and dropout (\.\d); "
        r"\*companion\* (\d) levels, (\d) V-cycles, (\d+) channels, (\d) heads and no dropout, .* "
        r"iterated (\d) times, γ is (\d) and α is (\.\d)\.",
        free_numbers,
    ),
    "negative field": (
        "notebooks/LEDGER.md",
        r"negative on a quarter \(z = 0\) to (\d+) % \(z = 1\)",
        negative,
    ),
    "negatives, on real pictures": (
        "notebooks/LEDGER.md",
        r"gives an average F1 of (\.\d+) instead of (\.\d+) \(notebook 8\)",
        lambda: on_real(("contrast", "positive"), ("base", "base")),
    ),
    "patches": ("notebooks/LEDGER.md", r"has √area of (\d+) pixels", patches),
    "sizes trained on": (
        "notebooks/05_dataset.ipynb",
        r"trained on pictures whose median nuclei are between (\d+) and (\d+) pixels",
        lambda: [round(sizes("train").min()), round(sizes("train").max())],
    ),
    "largest": (
        "notebooks/05_dataset.ipynb",
        r"is asked for one of (\d+)\.",
        lambda: [round(sizes("test").max())],
    ),
    "range of the test": (
        "notebooks/05_dataset.ipynb",
        r"the test as a whole by a factor of (\d+)",
        lambda: [round(sizes("test").max() / sizes("test").min())],
    ),
    "smallest and largest": (
        "notebooks/05_dataset.ipynb",
        r"serve pictures whose median nucleus has (\d+) and others where it has (\d+) pixels",
        lambda: [round(sizes("test").min()), round(sizes("test").max())],
    ),
    "larger than any": (
        "notebooks/05_dataset.ipynb",
        r"the median nucleus of no training picture is as large as that of (\w+) test pictures",
        lambda: [int((sizes("test") > sizes("train").max()).sum())],
    ),
    "two thirds": (
        "notebooks/05_dataset.ipynb",
        r"(Two thirds) of the pictures are small fluorescent",
        small_fluorescent,
    ),
    "pink and purple": (
        "notebooks/05_dataset.ipynb",
        r"(\w+) pictures of pink and purple tissue, crops of (\w+) parent, are all",
        pink_and_purple,
    ),
    "training pictures": (
        "notebooks/06_gpu_training.ipynb",
        r"drawn from each of the (\d+) training pictures",
        lambda: [len(sizes("train"))],
    ),
    "minutes": (
        "README.md",
        r"\*companion\*, \*unet\*: (\d+) minutes of one core each \(two machines\), one training; "
        r".* \*StarDist\*, \*Cellpose 3\*: (\d+) minutes of one core",
        minutes_of_a_core,
    ),
    "beside the U-Net": (
        "README.md",
        r"the difference is (\.\d+) \[(\.\d+), (\.\d+)\]",
        beside_the_unet,
    ),
    "scored": (
        "notebooks/LEDGER.md",
        r"\| (\d+) \| \w+ \| (\.\d+) \| now \|",
        last_scored,
    ),
    "scored last": (
        "notebooks/LEDGER.md",
        r"\(companion (?:\.\d+, ){3}(\.\d+); U-Net (?:\.\d+, ){3}(\.\d+); "
        r"FPN (?:\.\d+, ){3}(\.\d+)\)\. "
        r"Rows with flips were scored twice \(companion \.\d+, (\.\d+); U-Net \.\d+, (\.\d+)\)",
        last_of_each,
    ),
    "flips": (
        "notebooks/LEDGER.md",
        r"companion (\.\d+) and (\.\d+) on validation, (\.\d+) and (\.\d+) on the test; "
        r"U-Net of the GPU (\.\d+) and (\.\d+), (\.\d+) and (\.\d+)\.",
        flips,
    ),
    "inverted": (
        "notebooks/LEDGER.md",
        r"inverted they lose (\.\d+) of average F1 with it",
        inverted,
    ),
    "few nuclei": (
        "notebooks/11_audit.ipynb",
        r"Without the (\d+) large fluorescent nuclei.* rests on (\w+) pictures with (\w+) nuclei",
        few,
    ),
    "touching": ("notebooks/05_dataset.ipynb", r"(\w+) in ten of the test's nuclei", touching),
    "parts": (
        "notebooks/05_dataset.ipynb",
        r"which makes ([\d,]+) of ([\d,]+)\.",
        masks,
    ),
    "sizes of the test": (
        "notebooks/10_errors.ipynb",
        r"of a test picture is between (\d+) and (\d+) pixels wide",
        lambda: [round(sizes("test").min()), round(sizes("test").max())],
    ),
    "sizes of training": (
        "notebooks/10_errors.ipynb",
        r"that of a training picture between (\d+) and (\d+) \(notebook 5\)",
        lambda: [round(sizes("train").min()), round(sizes("train").max())],
    ),
    "second part": (
        "notebooks/11_audit.ipynb",
        r"(\w+) object of ([\d,]+) is the second part of an annotated nucleus",
        lambda: [masks()[0] - masks()[1], masks()[0]],
    ),
    "average F1": (
        "README.md",
        r"an average F1 of (\.\d+) where the paper prints (\.\d+)\.",
        average_f1,
    ),
    "notebooks": (
        "README.md",
        r"(\w+) notebooks show every equation",
        lambda: [len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))],
    ),
    "three seeds": (
        "README.md",
        r"the U-Net's mean is higher, as after (\d+) minutes of one core \(validation, three "
        r"seeds: (\.\d+) against (\.\d+)\); both are undecided",
        seeds,
    ),
    "on one GPU": (
        "README.md",
        r"(\w+) minutes of one shared H100; there the U-Net's mean",
        on_gpu,
    ),
    "a slide": (
        "notebooks/OWN_IMAGES.md",
        r"slide of ([\d,]+) x [\d,]+ pixels, a quarter of it tissue, took (\d\.\d) minutes and "
        r"(\d\.\d) GiB on one thread",
        slide,
    ),
    "engines": ("README.md", r"numba: (\d) to (\d) times as fast", engines),
    "engines, in words": (
        "notebooks/OWN_IMAGES.md",
        r"Without numba the CPU takes (\w+) to (\w+) times as long",
        engines,
    ),
    "literal reading": (
        "README.md",
        r"\*paper\*: the literal reading, (\d+) minutes, earlier code",
        literal_reading,
    ),
    "norms": (
        "notebooks/LEDGER.md",
        r"after (\d+) minutes of one core \*paper\* reaches an average F1 of (\.\d+) with batch "
        r"norm and (\.\d+) with groups",
        norms,
    ),
    "pictures of stage 2": (
        "README.md",
        r"Stage 2 of the challenge, (\d+) pictures",
        lambda: [sum(stratum.images for stratum in published.STAGE_2.values())],
    ),
}


def prose(page: str) -> str:
    """A page's text on one line."""
    path = ROOT / page
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, 4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", text)


def number(text: str) -> float:
    word = text.lower()
    return WORDS[word] if word in WORDS else float(word.replace(",", ""))


@pytest.mark.parametrize("name", CLAIMS)
def test_claim_is_what_the_files_say(name: str) -> None:
    page, pattern, computed = CLAIMS[name]
    said = re.search(pattern, prose(page))
    assert said, f"{page} no longer says: {pattern}"
    assert [number(text) for text in said.groups()] == pytest.approx(computed(), abs=1e-9)


def test_sections_measured_before_pictures_were_seen_twice_say_so() -> None:
    assert "left out were scored before it, with every picture seen once" in prose(
        "notebooks/LEDGER.md"
    )
    text = prose("notebooks/08_ablations.ipynb")
    sections = re.split(r"## (8\.\d) ", text)
    for name, words in zip(sections[1::2], sections[2::2], strict=True):
        said = "measured when every picture was seen once" in words
        assert said == (name in ("8.5", "8.6", "8.7")), name


def test_readme_says_how_often_the_test_was_scored() -> None:
    """What the ledger says in full: stretches scored more than once, and what came of it."""
    ledger, readme = prose("notebooks/LEDGER.md"), prose("README.md")
    text = (ROOT / "notebooks/LEDGER.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\d, ]+) \|", text.partition("How often the test")[2], re.MULTILINE)
    times = Counter(minutes for row in rows for minutes in row.split(", "))
    assert times == {"84": 1, "171": 1, "211": 2, "243": 4, "274": 2}
    assert "two to four times after three of five stretches of training" in readme
    assert "led to L28, L29 and L31" in readme
    for reading in ("L28, L29", "L31"):
        assert f"({reading})" in ledger.partition("had three effects")[2]
    assert "two pictures make .012 of this gain" in ledger
    assert "two pictures make .012 of" in readme


def test_no_method_is_as_far_up_between_the_bounds_as_the_paper() -> None:
    """Said in words by notebook 11; it would be wrong as soon as a result file says otherwise."""
    assert "No method, published or measured, has F1 values as near" in prose(
        "notebooks/11_audit.ipynb"
    )
    same = [run for run in runs_in(RESULTS) if published.same_images(run.counts)]
    table = study.places(tables.table1(same, with_published=False, resamples=1))
    place = table.set_index("method")["place between"]
    assert len(same) > 3
    assert place.drop(published.PAPER).max() < place[published.PAPER]


@pytest.mark.parametrize("page", ["10_errors", "13_your_own_images"])
def test_a_robustness_table_of_other_weights_says_so(page: str) -> None:
    stored = json.loads((RESULTS / "robustness.json").read_text(encoding="utf-8"))["training"]
    ours = load_weights(ROOT / "data/weights/companion.safetensors").provenance
    older = any(stored[key] != ours[key] for key in ("commit", "steps", "thresholds"))
    text = (ROOT / "notebooks" / f"{page}.ipynb").read_text(encoding="utf-8")
    assert ("measured with earlier weights" in text) == older
