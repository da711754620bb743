"""Ablations: what is changed, what is not, going on where it stopped."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from tiny import SMALL, rings

from ngat.config import preset, to_dict
from ngat.errors import InputError
from ngat.training import ablation
from ngat.training.ablation import BASE, COLUMNS, FACTORS, OF_BASE, Variant, ablate, plan
from ngat.training.sweep import Pictures


def flat(chosen) -> dict:
    return {k: v for part in ("model", "loss", "train") for k, v in to_dict(chosen)[part].items()}


@pytest.mark.parametrize("factor", FACTORS)
def test_a_variant_changes_what_it_says_and_nothing_else(factor: str) -> None:
    base = flat(Variant(BASE, BASE, 1).preset(30))
    for name, changes in FACTORS[factor].items():
        there = flat(Variant(factor, name, 1).preset(30))
        assert {key for key in base if base[key] != there[key]} == set(changes)
        assert all(there[key] == value for key, value in changes.items())


def test_the_base_is_the_smoke_preset_with_fewer_steps() -> None:
    base, smoke = flat(Variant(BASE, BASE, 0).preset(30)), flat(preset("smoke"))
    differ = {key for key in base if base[key] != smoke[key]}
    assert differ == {"steps", "validate_every", "validate_images"}
    assert set(OF_BASE) == set(FACTORS) - {BASE}
    assert OF_BASE["levels"] == str(smoke["levels"])
    for name, key in (("plasticity", "plasticity"), ("loss", "kind"), ("norm", "norm")):
        assert OF_BASE[name] == smoke[key]


def test_plan_goes_seed_by_seed_and_always_has_the_base() -> None:
    found = plan(["levels"], seeds=2)
    assert found[0] == (BASE, BASE, 0)
    assert [v.seed for v in found] == [0] * 5 + [1] * 5
    assert len(plan()) == 3 * sum(len(names) for names in FACTORS.values())
    with pytest.raises(InputError, match="Unknown factor 'colour'"):
        plan(["colour"])
    with pytest.raises(InputError, match="seeds"):
        plan(seeds=0)


def test_another_base_has_variants_of_its_own_and_none_that_change_nothing() -> None:
    own = preset("companion")
    found = ablation.factors_of("companion")
    assert "batch" not in found["norm"], "the companion has it anyway"
    assert "group" in found["norm"]
    assert "not learnt" in found["magnification"]
    variants = plan(seeds=1, base="companion")
    assert len(variants) == sum(len(names) for names in found.values())
    made = {variant: variant.preset(30, "companion") for variant in variants}
    assert all(chosen.name == "companion" for chosen in made.values())
    whole = {(chosen.model, chosen.loss, chosen.train.sized) for chosen in made.values()}
    assert len(whole) == len(variants), "no two are the same"
    assert Variant(BASE, BASE, 0).preset(None, "companion").train.steps == own.train.steps


@pytest.fixture
def tiny_base(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {k: v for k, v in SMALL.items() if k not in ("steps", "validate_every")}
    monkeypatch.setattr(ablation, "preset", lambda name, **kw: preset(name, **{**made, **kw}))


def test_runs_go_on_where_they_stopped(tiny_base: None, tmp_path: Path) -> None:
    out = tmp_path / "ablations.csv"
    variants = [Variant(BASE, BASE, 0), Variant("loss", "bce", 0), Variant(BASE, BASE, 1)]
    pictures = Pictures(rings(limit=4), rings("val", 2), rings("val", 2))
    assert ablate(out, variants[:1], 3, pictures, device="cpu", progress=False) == 1
    first = out.read_text()
    assert ablate(out, variants, 3, pictures, device="cpu", progress=False) == 2
    assert out.read_text().startswith(first)
    assert ablate(out, variants, 3, pictures, device="cpu", progress=False) == 0
    table = pd.read_csv(out)
    assert len(table) == 3
    assert ablation.table(out).minutes(3) == pytest.approx(table["seconds"].sum() / 60)
    with out.open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [(line["factor"], line["variant"], line["seed"]) for line in lines] == [
        (factor, name, str(seed)) for factor, name, seed in variants
    ]
    assert all(0 <= float(line[name]) <= 1 for line in lines for name in COLUMNS[6:])
    # The same seed and change give the same numbers; another seed gives others.
    again = ablation.run_one(variants[0], 3, pictures, device="cpu")
    assert [str(again[name]) for name in COLUMNS[6:]] == [lines[0][name] for name in COLUMNS[6:]]
    assert lines[0]["accuracy"] != lines[2]["accuracy"]
    with pytest.raises(InputError, match="holds runs of 3 steps, not 4"):
        ablate(out, variants, 4, pictures, device="cpu", progress=False)
    out.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no table of ablations"):
        ablate(out, variants, 3, pictures, device="cpu", progress=False)


def test_runs_end_by_the_clock_if_asked_and_go_on(tiny_base: None, tmp_path: Path) -> None:
    out = tmp_path / "ablations.csv"
    variants = [Variant(BASE, BASE, 0), Variant("loss", "bce", 0)]
    pictures = Pictures(rings(limit=4), rings("val", 2), rings("val", 2))
    options = {"minutes": 0.005, "device": "cpu", "progress": False}
    assert ablate(out, variants[:1], None, pictures, **options) == 1
    assert ablate(out, variants, None, pictures, **options) == 1
    assert ablate(out, variants, None, pictures, **options) == 0
    table = pd.read_csv(out)
    assert (table["steps"] > 0).all()
    assert (table["steps"] < 600).all(), "the clock ended them, not the schedule"
    assert ablation.table(out).minutes(None) == pytest.approx(table["seconds"].sum() / 60)
