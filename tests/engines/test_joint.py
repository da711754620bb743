"""Layers of joint relations in one operation against the reference's single operations."""

import dataclasses

import pytest
import torch

from ngat.config import ModelConfig
from ngat.model import NGAT, PyramidGATConv

pytest.importorskip("numba")

from ngat.attention.reference import attend
from ngat.engines.cpu import compile as cpu_compile
from ngat.engines.cpu.fused import layer
from ngat.engines.cpu.normed import Nodes

CONFIG = ModelConfig(
    levels=3, channels=8, heads=2, depth=2, norm_groups=2, relations="joint", schedule="synchronous"
)


def network(engine, change, size, dtype=torch.float64):
    """Logits, and the gradients of all parameters, all of them drawn."""
    torch.manual_seed(0)
    model = NGAT(dataclasses.replace(CONFIG, engine=engine, **change)).to(dtype)
    for parameter in model.parameters():
        parameter.data = parameter + 0.1 * torch.randn_like(parameter)
    logits = model(torch.rand(3, 3, *size, dtype=torch.float64).to(dtype)).logits
    loss = sum((x * torch.linspace(-1, 1, x.numel()).view_as(x).to(x)).sum() for x in logits)
    return logits, torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)


def assert_agree(found, expected, tolerance):
    for one, other in zip(found[0], expected[0], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    for one, other in zip(found[1], expected[1], strict=True):
        if one is None or other is None:
            assert one is other
            continue
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, rtol=1e3 * tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [(46, 37), (13, 8)])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"norm": "batch", "position": "linear"},
        {"norm": "none", "plasticity": "fixed"},
        {"residual": False},
        {"schedule": "vcycle"},  # one level at a time, the others attended to alone
    ],
)
def test_a_network_is_that_of_the_reference(change, size, threads, monkeypatch):
    monkeypatch.setattr(cpu_compile, "GRAIN", 1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found, expected = (network(engine, change, size) for engine in ("cpu", "reference"))
    finally:
        torch.set_num_threads(before)
    assert_agree(found, expected, 1e-9)


def test_a_network_in_float32():
    found = network("cpu", {}, (32, 40), torch.float32)
    assert_agree(found, network("reference", {}, (32, 40), torch.float32), 2e-4)


@pytest.mark.parametrize("read", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_levels_that_nobody_reads_leave_no_gradient(read):
    """Whichever levels a loss is made of, and whichever gradients are therefore added first."""
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, norm="none", plasticity="fixed")
    conv = PyramidGATConv(config).double()
    sizes = ((13, 10), (7, 5), (4, 3))
    planes = [torch.randn(2, 8, *size, dtype=torch.float64).requires_grad_() for size in sizes]
    leaves = [*planes, *conv.parameters()]
    found = []
    for at_once in (True, False):
        nodes = [Nodes(h, conv.norm, m) for m, h in enumerate(planes)]
        new = {m: n.h for m, n in layer(conv, nodes, None).items()} if at_once else None
        new = conv(planes, attend=attend) if new is None else new
        loss = sum(new[m].sin().sum() for m in read)
        found.append(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_dropout_drops_updates_and_scales_the_rest():
    torch.manual_seed(0)
    conv = PyramidGATConv(dataclasses.replace(CONFIG, norm="none", dropout=0.25)).double()
    planes = [torch.randn(2, 8, *size, dtype=torch.float64) for size in ((32, 40), (16, 20))]

    def updates():
        nodes = [Nodes(h, conv.norm, m) for m, h in enumerate(planes)]
        return layer(conv, nodes, None)[0].h - planes[0]

    whole, some = conv.eval() and updates(), conv.train() and updates()
    active = whole.abs() > 1e-9
    kept = active & (some != 0)
    assert 0.7 < (kept.sum() / active.sum()).item() < 0.8
    torch.testing.assert_close(some[kept], whole[kept] / 0.75)
