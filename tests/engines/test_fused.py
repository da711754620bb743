"""The typed update in one piece against its composition of single operations."""

import dataclasses

import pytest
import torch

from ngat.config import ModelConfig
from ngat.graph import PyramidGraph
from ngat.layers import Norm
from ngat.model import NGAT
from ngat.update import Update as Module

pytest.importorskip("numba")

from ngat.engines.cpu import threads as cpu_threads
from ngat.engines.cpu.update import Maps, Update

CONFIG = ModelConfig(levels=3, channels=8, heads=2, depth=1, norm_groups=2)
HEARD = [("king",), ("king", "child"), ("king", "parent"), ("king", "child", "parent")]


def inputs(config, relations, size, batch, dtype, seed=0):
    """An update with random parameters, the embeddings it hears, and moves of all levels."""
    torch.manual_seed(seed)
    level, graph = 1, PyramidGraph(*size, 3)
    update = Module(config, level, relations).to(dtype)
    for parameter in update.parameters():
        parameter.data = torch.randn_like(parameter)
    norm = Norm(config).to(dtype)
    step = {"king": 0, "child": -1, "parent": 1}
    fields = {
        relation: torch.randn(batch, 8, *graph.sizes[level + step[relation]], dtype=dtype)
        for relation in relations
    }
    moves = [torch.randn(batch, 3, *s, dtype=dtype) * (m > 0) for m, s in enumerate(graph.sizes)]
    return update, norm, fields, moves, graph


def run(update, norm, fields, moves, graph, at_once):
    leaves = {relation: field.clone().requires_grad_() for relation, field in fields.items()}
    moving = [move.clone().requires_grad_() for move in moves]
    heard = {relation: norm(leaf) for relation, leaf in leaves.items()}
    if at_once:
        out = update.at_once(heard, 1, moving)
    else:
        maps = {relation: update.sources(relation, h) for relation, h in heard.items()}
        out = update(heard["king"], maps, graph, 1, moving)
    direction = torch.linspace(-1, 1, out.h.numel(), dtype=out.h.dtype).view_as(out.h)
    inputs = [*leaves.values(), *moving[1:], *update.parameters()]
    return out.h, torch.autograd.grad(
        ((out.h + out.normalised) * direction).sum(),
        inputs,
        allow_unused=True,
        materialize_grads=True,
    )


@pytest.mark.parametrize("relations", HEARD)
@pytest.mark.parametrize("size", [(16, 12), (13, 7), (2, 3)])
@pytest.mark.parametrize("change", [{}, {"residual": False}, {"self_map": False}])
def test_at_once_is_the_composition(relations, size, change):
    config = dataclasses.replace(CONFIG, **change)
    case = inputs(config, relations, size, 2, torch.float64)
    expected, expected_gradients = run(*case, at_once=False)
    found, gradients = run(*case, at_once=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for one, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


def test_at_once_in_float32():
    case = inputs(CONFIG, ("king", "child"), (32, 40), 3, torch.float32)
    expected, expected_gradients = run(*case, at_once=False)
    found, gradients = run(*case, at_once=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for one, other in zip(gradients, expected_gradients, strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * scale)


def test_threads_change_nothing_but_rounding():
    case = inputs(CONFIG, ("king", "child"), (64, 64), 2, torch.float64)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(*case, at_once=True))
    finally:
        torch.set_num_threads(before)
    for out, gradients in results[1:]:
        torch.testing.assert_close(out, results[0][0], rtol=1e-12, atol=1e-12)
        for one, other in zip(gradients, results[0][1], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_it_serves_the_companion_on_the_cpu_and_nothing_else():
    like = torch.zeros(1, 8, 4, 4)
    assert NGAT(CONFIG).updates[0].fuses(like)
    assert not NGAT(CONFIG).updates[0].fuses(like.half())
    for change in ({"relations": "joint"}, {"aggregator": "gcn"}, {"engine": "reference"}):
        assert not NGAT(dataclasses.replace(CONFIG, **change)).updates[0].fuses(like)


@pytest.mark.parametrize("relations", HEARD)
@pytest.mark.parametrize("size", [(2, 40), (34, 2), (46, 37)])
@pytest.mark.parametrize("rows", [2, 4])
def test_blocks_of_rows_change_nothing(relations, size, rows, monkeypatch):
    """One row, more rows than a block, a last block that is cut short, and threads among them."""
    monkeypatch.setattr(Update, "block", lambda *_: rows)
    monkeypatch.setattr(cpu_threads, "GRAIN", 1)
    case = inputs(CONFIG, relations, size, 3, torch.float64)
    case[2]["king"] = case[2]["king"].transpose(2, 3).contiguous().transpose(2, 3)
    expected, expected_gradients = run(*case, at_once=False)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found, gradients = run(*case, at_once=True)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
            for one, other in zip(gradients, expected_gradients, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
    finally:
        torch.set_num_threads(before)


def test_inference_is_the_forward_pass_of_training():
    update, norm, fields, moves, _ = inputs(CONFIG, ("king", "child"), (46, 37), 2, torch.float32)
    expected = update.at_once({r: norm(h) for r, h in fields.items()}, 1, moves).h
    assert expected.requires_grad
    with torch.inference_mode():
        found = update.at_once({r: norm(h) for r, h in fields.items()}, 1, moves).h
    assert torch.equal(found, expected)


@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (256, 256), (6, 4096)])
def test_threads_get_blocks_of_about_equal_height(batch, size):
    update = Update.__new__(Update)
    update.own, update.size, update.threads = torch.empty(batch, 32, *size), 4, 2
    update.maps = [Maps(torch.empty(76, 32), torch.empty(76)), None, None]
    rows = update.block(1, 0)
    blocks = batch * -(-size[0] // rows)
    assert rows % 2 == 0
    assert blocks % 2 == 0 or size[0] < 8


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("size", [(46, 37), (13, 8)])
def test_embeddings_heard_by_several_updates_get_one_gradient(threads, residual, size, monkeypatch):
    """All levels of a V-cycle: what reaches moments, and gradients added on the way."""
    monkeypatch.setattr(cpu_threads, "GRAIN", 1)
    found, before = [], torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for engine in ("cpu", "reference"):
            torch.manual_seed(0)
            config = dataclasses.replace(CONFIG, depth=2, engine=engine, residual=residual)
            model = NGAT(config).double()
            for parameter in model.parameters():
                parameter.data = parameter + 0.1 * torch.randn_like(parameter)
            logits = model(torch.rand(3, 3, *size, dtype=torch.float64)).logits
            loss = sum((x * torch.linspace(-1, 1, x.numel()).view_as(x)).sum() for x in logits)
            gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
            found.append((logits, gradients))
    finally:
        torch.set_num_threads(before)
    (logits, gradients), (expected, references) = found
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    for one, other in zip(gradients, references, strict=True):
        if other is None or one is None:
            assert one is other
            continue
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9 * scale)


def test_a_gradient_that_came_another_way_is_added():
    """An embedding that an update handed on is used beside it, before and after."""
    update, norm, fields, moves, graph = inputs(CONFIG, HEARD[3], (13, 7), 2, torch.float64)
    found = []
    for at_once in (True, False):
        leaves = {relation: field.clone().requires_grad_() for relation, field in fields.items()}
        inner = {relation: leaf * 1.5 for relation, leaf in leaves.items()}
        heard = {relation: norm(h) for relation, h in inner.items()}
        if at_once:
            out = update.at_once(heard, 1, moves).h
            assert heard["child"].h is not inner["child"]
        else:
            maps = {relation: update.sources(relation, h) for relation, h in heard.items()}
            out = update(heard["king"], maps, graph, 1, moves).h
        more = sum(embedding.h.pow(3).sum() for embedding in heard.values())
        more = more + sum(h.square().sum() for h in inner.values())
        found.append(torch.autograd.grad(out.sin().sum() + more, list(leaves.values())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
