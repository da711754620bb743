"""Recorded steps: the same gradients and statistics; nothing in a step that cannot be recorded."""

import copy
import warnings

import pytest
import torch
from recorded import replayed
from torch.utils._python_dispatch import TorchDispatchMode

from ngat.baselines.networks import build
from ngat.config import preset
from ngat.graph import PyramidGraph
from ngat.projection import _home_on, home_positions
from ngat.system.precision import scaler
from ngat.training.patches import Batch
from ngat.training.step import Objective, Passes, recorder_for

CPU = torch.device("cpu")


@pytest.fixture
def objective():
    torch.manual_seed(0)
    chosen = preset("companion", channels=8, depth=1, levels=3, engine="reference")
    return Objective(build(chosen.model), chosen.loss).train()


def batch(seed, size=16):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, size, size, generator=generator)
    targets = torch.rand(2, 4, size, size, generator=generator)
    targets[:, 3] = (4 * targets[:, 3]).round()  # numbers of nuclei
    return Batch(image, targets)


def step(passes, given):
    loss, per_level = passes(given)
    gradients = {n: p.grad.clone() for n, p in passes.objective.named_parameters()}
    return loss, per_level, gradients, dict(passes.objective.named_buffers())


def test_a_replayed_step_is_the_step(objective):
    other = copy.deepcopy(objective)
    recorded = Passes(objective, scaler(CPU), replayed)
    plain = Passes(other, scaler(CPU))
    kept = None
    # Of two sizes, so that a second recording is made; gradients are used up in between.
    for given in (batch(0), batch(1), batch(2, size=12), batch(3)):
        found, expected = step(recorded, given), step(plain, given)
        for one, same in zip(found[:2], expected[:2], strict=True):
            torch.testing.assert_close(one, same)
        for name, gradient in expected[2].items():
            torch.testing.assert_close(found[2][name], gradient, msg=name)
        for name, statistic in expected[3].items():
            torch.testing.assert_close(found[3][name], statistic, msg=name)
        assert kept is None or not torch.equal(kept, found[0])
        kept = found[0]
        for parameter in objective.parameters():
            parameter.grad = None


def test_what_cannot_be_recorded_is_done_piece_by_piece(objective):
    calls = []

    def refuses(function):
        function()
        calls.append(1)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    other = copy.deepcopy(objective)
    passes = Passes(objective, scaler(CPU), refuses)
    with pytest.warns(UserWarning, match="not recorded as a CUDA graph: operation not permitted"):
        found = step(passes, batch(0))
    expected = step(Passes(other, scaler(CPU)), batch(0))
    torch.testing.assert_close(found[0], expected[0])
    for name, statistic in expected[3].items():  # the failed trial left no trace in them
        torch.testing.assert_close(found[3][name], statistic, msg=name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        passes(batch(1))
    assert calls == [1]


def test_a_recording_that_forgets_a_batch_is_not_used(objective):
    other = copy.deepcopy(objective)
    passes = Passes(objective, scaler(CPU), lambda function: (function(), lambda: None))
    with pytest.warns(UserWarning, match="not recorded as a CUDA graph: gradients differ by"):
        found = step(passes, batch(0))
    expected = step(Passes(other, scaler(CPU)), batch(0))
    for one, same in zip(found[2:], expected[2:], strict=True):
        for name, tensor in same.items():
            torch.testing.assert_close(one[name], tensor, msg=name)


def test_nothing_is_recorded_without_a_gpu():
    assert recorder_for(CPU) is None
    assert recorder_for(torch.device("cuda", 0)) is not None


class Waits(TorchDispatchMode):
    """Operations for which a GPU would wait: numbers to or from the host, sizes that depend."""

    HOST = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "_unique2", "item")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in self.HOST:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def test_waiting_is_noticed():
    with Waits() as waits:
        float(torch.ones(1))
        torch.ones(2).new_tensor([1.0])
        torch.ones(2).nonzero()
    assert waits.found == ["_local_scalar_dense", "lift_fresh", "nonzero"]


@pytest.mark.parametrize("name", ["companion", "paper"])
def test_a_step_exchanges_no_numbers_with_the_host(name, monkeypatch):
    """Else a GPU waits in every step, and cannot record it."""
    monkeypatch.setattr(
        "ngat.plasticity.home_positions",
        lambda graph, level, like: _home_on(graph, level, like.dtype, like.device),
    )
    chosen = preset(name, channels=8, depth=1, engine="reference", dropout=0.1)
    passes = Passes(Objective(build(chosen.model), chosen.loss).train(), scaler(CPU))
    passes(batch(0))
    with Waits() as waits:
        passes(batch(1))
    assert waits.found == []


def test_home_positions_are_sent_once():
    graph = PyramidGraph(20, 31, 3)
    for level in range(3):
        like = torch.zeros(1)
        sent = _home_on(graph, level, like.dtype, like.device)
        assert torch.equal(sent, home_positions(graph, level, like))
        assert _home_on(PyramidGraph(20, 31, 3), level, like.dtype, like.device) is sent
    with torch.inference_mode():
        made = _home_on(PyramidGraph(9, 9, 2), 1, torch.float32, CPU)
    assert not made.is_inference()  # or training could not use it afterwards
