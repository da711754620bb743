"""A training step's floors against counts by other means, and what is said of a CUDA graph."""

import pytest
from recorded import replayed

from ngat.baselines.networks import build
from ngat.benchmark.measure import Rates
from ngat.benchmark.network import multiply_adds
from ngat.benchmark.step import measure_step, step_costs, step_floors
from ngat.config import preset

SMALL = {"channels": 8, "depth": 1, "levels": 3, "patch": 16, "engine": "reference"}


def test_costs_are_those_of_three_inferences():
    """Every product is made once forward and twice backward, sums over neighbours as well."""
    chosen = preset("companion")
    model = build(chosen.model)
    costs = step_costs(model, 32, 1, 4)
    counted = 3 * multiply_adds("reference", "companion", 32) * 32**2
    found = sum(cost.multiply_adds for _, cost in costs)
    assert found == pytest.approx(counted, rel=5e-3)  # without those of b and the moves
    weights = sum(p.numel() for p in model.parameters())
    assert [cost.bytes for part, cost in costs if part == "optimiser"] == [28 * weights]
    many = step_costs(model, 32, 5, 2)
    for (part, one), (_, five) in zip(costs, many, strict=True):
        if part != "optimiser":
            assert five.multiply_adds == 5 * one.multiply_adds
            assert five.bytes == one.bytes * 5 * (1 if part == "loss" else 0.5)


def test_floors_are_summed_by_part():
    costs = step_costs(build(preset("companion", **SMALL).model), 16, 1, 4)
    floors = step_floors(costs, Rates(copy=1.0, product=1e9))  # products cost nothing
    norms = [cost.bytes for part, cost in costs if part == "norm"]
    assert floors["norm"] == pytest.approx(sum(norms) * 1e-6)
    assert set(floors) == {part for part, _ in costs}


@pytest.mark.parametrize("works", [True, False, None])
def test_a_graph_is_compared_before_it_is_recommended(works):
    """A recorder that repeats the step; one that refuses; one that forgets the second batch."""

    def recorder(function):
        if works is False:
            function()
            raise RuntimeError("operation not permitted")
        results, replay = replayed(function)
        return results, replay if works else (lambda: None)

    chosen = preset("companion", **SMALL)
    found = measure_step(chosen, 1, "cpu", recorder=recorder, rounds=1, seconds=0.0)
    assert found["recorded"] == bool(works)
    assert found["times_the_floor"] > 0
    if works:
        assert found["why"] == ""
        assert set(found["milliseconds"]) == {"one by one", "graph"}
    else:
        assert ("gradients differ" if works is None else "operation not permitted") in found["why"]
        assert set(found["milliseconds"]) == {"one by one"}
