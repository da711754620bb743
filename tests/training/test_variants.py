"""Variants: what is changed, what is not, and in what order."""

from __future__ import annotations

import pytest

from ngat.config import preset, to_dict
from ngat.data import TYPES
from ngat.errors import InputError
from ngat.training.variants import (
    BASE,
    FACTORS,
    HELD_OUT,
    Variant,
    ablations,
    factors_of,
    left_out,
    own_values,
)


def flat(chosen) -> dict:
    return {k: v for part in ("model", "loss", "train") for k, v in to_dict(chosen)[part].items()}


@pytest.mark.parametrize("factor", FACTORS)
def test_a_variant_changes_what_it_says_and_nothing_else(factor: str) -> None:
    base = flat(Variant("companion", BASE, BASE, 1).preset(30))
    for name, changes in FACTORS[factor].items():
        there = flat(Variant("companion", factor, name, 1).preset(30))
        differ = {key for key in base if base[key] != there[key]}
        assert differ == (set() if name == own_values("companion")[factor] else set(changes))
        assert all(there[key] == value for key, value in changes.items())


def test_as_published_is_the_literal_network_with_the_base_s_levels() -> None:
    found = flat(Variant("companion", "schedule", "as published", 0).preset(30))
    literal = flat(preset("paper"))
    differ = {key for key in literal if found[key] != literal[key]}
    assert differ == {"levels", "steps", "validate_every", "validate_images"}


def test_the_base_is_the_preset_with_fewer_steps() -> None:
    for name in ("smoke", "companion"):
        base, own = flat(Variant(name, BASE, BASE, 7).preset(30)), flat(preset(name))
        differ = {key for key in base if base[key] != own[key]}
        assert differ == {"steps", "seed", "validate_every", "validate_images"}
        by_the_clock = Variant(name, BASE, BASE, 0).preset(None)
        assert by_the_clock.train.steps == own["steps"]
    assert own_values("smoke")["levels"] == str(preset("smoke").model.levels)


def test_ablations_go_seed_by_seed_and_always_have_the_base() -> None:
    found = ablations("smoke", ["levels"], seeds=2)
    assert found[0] == ("smoke", BASE, BASE, 0)
    assert [v.seed for v in found] == [0] * 5 + [1] * 5
    assert ablations("smoke", [BASE], 1) == found[:1]
    with pytest.raises(InputError, match="Unknown factor 'colour'"):
        ablations("smoke", ["colour"])
    with pytest.raises(InputError, match="Unknown factor 'contrast'"):
        ablations("smoke", ["contrast"])
    with pytest.raises(InputError, match="seeds must be at least 1"):
        ablations("smoke", seeds=0)
    for only in ([], [BASE, "levels"]):
        with pytest.raises(InputError, match="unet has nothing to ablate"):
            ablations("unet", only)
    assert ablations("unet", [BASE], 2) == [("unet", BASE, BASE, seed) for seed in (0, 1)]


@pytest.mark.parametrize("base", ["smoke", "companion", "paper"])
def test_no_two_variants_of_a_base_are_the_same(base: str) -> None:
    variants = ablations(base, seeds=1)
    chosen = [variant.preset(30) for variant in variants]
    assert all(one.name == base for one in chosen)
    assert len({(c.model, c.loss, c.train) for c in chosen}) == len(variants)
    assert set(own_values(base)) <= set(factors_of(base))
    assert ("magnification" in factors_of(base)) == preset(base).train.sized


def test_leaving_out_compares_from_the_first_runs_on() -> None:
    found = left_out(("companion", "unet"), seeds=2)
    assert len(found) == 2 * 2 * (1 + len(TYPES))
    assert found[:3] == [
        ("companion", BASE, BASE, 0), ("unet", BASE, BASE, 0), ("companion", HELD_OUT, TYPES[0], 0)
    ]  # fmt: skip
    made, own = Variant("companion", HELD_OUT, TYPES[2], 3).preset(17), preset("companion")
    assert (made.train.held_out, made.train.seed, made.train.steps) == (TYPES[2], 3, 17)
    assert made.model == own.model
    assert (made.train.sized, made.train.patch) == (True, own.train.patch)
    assert [v.variant for v in left_out(["unet"], TYPES[:1])] == [BASE, TYPES[0]]
    with pytest.raises(InputError, match="Unknown preset 'resnet'"):
        left_out(["resnet"])
