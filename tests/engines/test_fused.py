"""The typed update in one piece against its composition of single operations."""

import dataclasses

import pytest
import torch

from ngat.config import ModelConfig, preset
from ngat.graph import SOURCE_STEP, PyramidGraph
from ngat.model import NGAT, Norm, PyramidGATConv

pytest.importorskip("numba")

from ngat.attention import attend
from ngat.engines.cpu import compile as cpu_compile
from ngat.engines.cpu.fused import typed_level
from ngat.engines.cpu.normed import Nodes
from ngat.engines.cpu.update import Update, UpdateMaps

CONFIG = ModelConfig(levels=3, channels=8, heads=2, depth=1, norm_groups=2)
HEARD = [("king",), ("king", "child"), ("king", "parent"), ("king", "child", "parent")]


def inputs(config, relations, size, batch, dtype, seed=0):
    """An update with random parameters, the embeddings it hears, and moves of all levels."""
    torch.manual_seed(seed)
    level, graph = 1, PyramidGraph(*size, 3)
    update = PyramidGATConv(config, level, relations).to(dtype)
    for parameter in update.parameters():
        parameter.data = torch.randn_like(parameter)
    norm = Norm(config).to(dtype)
    fields = {
        relation: torch.randn(batch, 8, *graph.sizes[level + SOURCE_STEP[relation]], dtype=dtype)
        for relation in relations
    }
    moves = [torch.randn(batch, 3, *s, dtype=dtype) * (m > 0) for m, s in enumerate(graph.sizes)]
    return update, norm, fields, moves, graph


def fused(update, norm, fields, moves):
    """By the CPU engine: the nodes of level 1, and of all that it attends to."""
    nodes = [None] * 3
    for relation, h in fields.items():
        nodes[1 + SOURCE_STEP[relation]] = Nodes(h, norm, 0)
    return typed_level(update, nodes, 1, moves), nodes


def plain(update, norm, fields, moves):
    h = [None] * 3
    for relation, field in fields.items():
        h[1 + SOURCE_STEP[relation]] = field
    return update(h, [None if x is None else norm(x) for x in h], moves, attend)[1]


def run(update, norm, fields, moves, graph, at_once):
    leaves = {relation: field.clone().requires_grad_() for relation, field in fields.items()}
    moving = [move.clone().requires_grad_() for move in moves]
    if at_once:
        found, _ = fused(update, norm, leaves, moving)
        # What reaches h through the moments that the operation took.
        out, normalised = found.h, by_moments(found, norm)
    else:
        out = plain(update, norm, leaves, moving)
        normalised = norm(out)
    direction = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    inputs = [*leaves.values(), *moving[1:], *update.parameters()]
    return out, torch.autograd.grad(
        ((out + normalised) * direction).sum(),
        inputs,
        allow_unused=True,
        materialize_grads=True,
    )


def by_moments(nodes, norm):
    """The normalisation of nodes from their moments, differentiable in both."""
    batch, channels, *size = nodes.h.shape
    moments = nodes.fold.moments.unflatten(1, (norm.groups, -1)).sum(2)
    count = size[0] * size[1] * channels // norm.groups
    mean = moments[..., 0] / count
    scale = (moments[..., 1] / count - mean.square() + norm.EPSILON).rsqrt()
    mean, scale = (
        x.repeat_interleave(channels // norm.groups, 1)[..., None, None].to(nodes.h)
        for x in (mean, scale)
    )
    return scale * (nodes.h - mean)


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


@pytest.mark.parametrize(
    ("change", "training", "times"),
    [
        ({}, True, 5),
        ({"norm": "batch"}, True, 5),
        ({"dropout": 0.5}, True, 5),
        ({"dropout": 0.5}, False, 5),
        ({"schedule": "synchronous"}, True, 3),
        ({"relations": "joint"}, True, 0),
        ({"aggregator": "gcn"}, True, 0),
        ({"engine": "reference"}, True, 0),
    ],
)
def test_what_is_one_operation(change, training, times, monkeypatch):
    """Typed updates by attention on the CPU, dropout or not; nothing leaves that path silently."""
    from ngat.engines.cpu import fused as cpu_engine

    calls = []
    original = cpu_engine.typed_update
    monkeypatch.setattr(cpu_engine, "typed_update", lambda *a: (calls.append(1), original(*a))[1])
    model = NGAT(dataclasses.replace(CONFIG, **change)).train(training)
    model(torch.rand(2, 3, 8, 8))
    assert len(calls) == times


def test_dropout_drops_updates_and_scales_the_rest():
    """The gap between h and its update is the update, or zero, in about equal parts."""
    config = dataclasses.replace(CONFIG, dropout=0.25)
    update, norm, fields, moves, _ = inputs(config, ("king", "child"), (33, 40), 2, torch.float64)
    whole = plain(update.eval(), norm, fields, moves) - fields["king"]
    found = fused(update.train(), norm, fields, moves)[0].h - fields["king"]
    kept = found != 0
    assert 0.7 < kept.double().mean() < 0.8
    torch.testing.assert_close(found[kept], whole[kept] / 0.75)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("spoilt", ["king", "child", "parent", 1, 2])
def test_what_is_not_finite_stays_so(spoilt, bad):
    """Wherever the composition is not finite, forward and backward, the operation is not."""
    config = dataclasses.replace(CONFIG, norm="none")
    update, norm, fields, moves, graph = inputs(config, HEARD[3], (18, 20), 2, torch.float64)
    target = fields[spoilt] if isinstance(spoilt, str) else moves[spoilt]
    target[0, 0].view(-1)[7] = bad
    results = []
    for one in (fused, plain):
        leaves = {relation: field.clone().requires_grad_() for relation, field in fields.items()}
        out = one(update, norm, leaves, moves)
        out = out[0].h if one is fused else out
        results.append([out, *torch.autograd.grad(out.sum(), list(leaves.values()))])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one.isfinite(), other.isfinite())
        assert bad == bad or torch.equal(one.isnan(), other.isnan())


@pytest.mark.parametrize("norm", ["none", "group", "batch"])
@pytest.mark.parametrize("name", ["companion", "paper"])
def test_one_nan_pixel_is_nan_wherever_the_reference_says(name, norm):
    found = []
    for engine in ("cpu", "reference"):
        torch.manual_seed(0)
        model = NGAT(preset(name, norm=norm, engine=engine, dropout=0.0, channels=8).model).double()
        image = torch.rand(2, 3, 32, 32, dtype=torch.float64)
        image[1, 0, 5, 6] = float("nan")
        logits = model(image).logits
        gradients = torch.autograd.grad(sum(x.sum() for x in logits), list(model.parameters()))
        found.append([*logits, *gradients])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.isnan(), other.isnan())
    assert all(logits.isnan().any() for logits in found[0][:5])


@pytest.mark.parametrize("relations", HEARD)
@pytest.mark.parametrize("size", [(2, 40), (34, 2), (46, 37)])
@pytest.mark.parametrize("rows", [2, 4])
def test_blocks_of_rows_change_nothing(relations, size, rows, monkeypatch):
    """One row, more rows than a block, a last block that is cut short, and threads among them."""
    monkeypatch.setattr(Update, "block", lambda *_: rows)
    monkeypatch.setattr(cpu_compile, "GRAIN", 1)
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
    expected = fused(update, norm, fields, moves)[0].h
    assert expected.requires_grad
    with torch.inference_mode():
        found = fused(update, norm, fields, moves)[0].h
    assert torch.equal(found, expected)


@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (256, 256), (6, 4096)])
def test_threads_get_blocks_of_about_equal_height(batch, size):
    update = Update.__new__(Update)
    update.own, update.size, update.threads = torch.empty(batch, 32, *size), 4, 2
    update.maps = [UpdateMaps(torch.empty(76, 32), torch.empty(76)), None, None]
    rows = update.block(1, 0)
    blocks = batch * -(-size[0] // rows)
    assert rows % 2 == 0
    assert blocks % 2 == 0 or size[0] < 8


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("size", [(46, 37), (13, 8)])
def test_embeddings_read_by_several_updates_get_one_gradient(threads, residual, size, monkeypatch):
    """All levels of a V-cycle: what reaches moments, and gradients added on the way."""
    monkeypatch.setattr(cpu_compile, "GRAIN", 1)
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
    """An embedding that an update passed on is used beside it, before and after."""
    update, norm, fields, moves, _ = inputs(CONFIG, HEARD[3], (13, 7), 2, torch.float64)
    found = []
    for at_once in (True, False):
        leaves = {relation: field.clone().requires_grad_() for relation, field in fields.items()}
        inner = {relation: leaf * 1.5 for relation, leaf in leaves.items()}
        after = list(inner.values())
        if at_once:
            out, nodes = fused(update, norm, inner, moves)
            out, after = out.h, [level.h for level in nodes]
            assert after[0] is not inner["child"]
        else:
            out = plain(update, norm, inner, moves)
        more = sum(h.pow(3).sum() for h in after)
        more = more + sum(h.square().sum() for h in inner.values())
        found.append(torch.autograd.grad(out.sin().sum() + more, list(leaves.values())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
