"""The CPU engine against the reference: values, gradients, layouts, threads, what is missing."""

import sys

import pytest
import torch
from attention_cases import GROUPINGS, SHAPES, draw, value_and_gradients

import ngat.engines.cpu
from ngat.attention import TapGroup, attend, attend_levels, installed, resolve
from ngat.errors import InputError, MissingDependency
from ngat.graph import PyramidGraph

# Agreement with the reference in float64, relative to the largest entry of a tensor. A sum of 14
# products rounds to about 4 ulp; sums over nodes (∂t) to a few dozen. bfloat16 has 8 bits.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 4e-6, torch.float16: 4e-3, torch.bfloat16: 2e-2}


@pytest.fixture
def compiled():
    pytest.importorskip("numba")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    for module in ("attend", "executor", "backward", "kernels", "taps", "simd"):
        monkeypatch.delitem(sys.modules, f"ngat.engines.cpu.{module}", raising=False)
        monkeypatch.delattr(ngat.engines.cpu, module, raising=False)
    installed.cache_clear()
    yield
    installed.cache_clear()


def cpu(groups, destination):
    return attend(groups, destination, "cpu")


def reference(groups, destination):
    return attend(groups, destination, "reference")


def assert_agree(found, expected, tolerance, what=""):
    assert found.shape == expected.shape
    scale = max(1.0, float(expected.abs().max()))
    error = float((found.double() - expected).abs().max()) / scale
    assert error <= tolerance, f"{what}: {error}"


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("relations", GROUPINGS)
@pytest.mark.parametrize("odd", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_the_reference_in_value_and_gradient(shape, odd, relations, dtype):
    groups, er = draw(shape, relations, odd=odd, dtype=dtype)
    # The reference gets the same rounded inputs, and computes in float64.
    exact = [TapGroup(g[0], *(t.double() for t in g[1:])) for g in groups]
    expected, expected_gradients = value_and_gradients(reference, exact, er.double())
    found, gradients = value_and_gradients(cpu, groups, er)
    assert found.dtype == dtype
    assert_agree(found, expected, TOLERANCE[dtype], "value")
    for one, other in zip(gradients, expected_gradients, strict=True):
        assert one.dtype == dtype
        assert_agree(one, other, TOLERANCE[dtype], "gradient")


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("relations", GROUPINGS)
def test_slices_of_one_product_are_served_as_they_lie(relations):
    """The model passes z, el and er as channel slices of [W; a_s W; a_d W] x."""
    groups, er = draw((2, 2, 3, 5, 6), relations)
    expected, expected_gradients = value_and_gradients(reference, groups, er)

    def packed(groups, destination):
        views = []
        for relation, z, el, tap in groups:
            product = torch.cat([el, z, el], dim=1)
            views.append(TapGroup(relation, product[:, 2:8], product[:, 8:], tap))
        # Every other column of a wider tensor: no engine can take that without a copy.
        wide = destination.repeat_interleave(2, dim=3)[..., ::2]
        assert not wide.is_contiguous()
        return cpu(views, wide)

    found, gradients = value_and_gradients(packed, groups, er)
    assert_agree(found, expected, 1e-12)
    for one, other in zip(gradients, expected_gradients, strict=True):
        assert_agree(one, other, 1e-12)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("relations", GROUPINGS)
@pytest.mark.parametrize("scale", [100.0, 1e4])
def test_extreme_logits_are_exact_and_finite(relations, scale):
    groups, er = draw((1, 2, 3, 9, 7), relations, scale=scale, dtype=torch.float32)
    exact = [TapGroup(g[0], *(t.double() for t in g[1:])) for g in groups]
    expected, expected_gradients = value_and_gradients(reference, exact, er.double())
    found, gradients = value_and_gradients(cpu, groups, er)
    # A logit of this size is itself rounded to 2^-24 of it, which is the weight's relative error.
    tolerance = 4e-6 + 5 * scale * 2**-24
    assert_agree(found, expected, tolerance)
    for one, other in zip(gradients, expected_gradients, strict=True):
        assert one.isfinite().all()
        assert_agree(one, other, 4 * tolerance)


@pytest.mark.usefixtures("compiled")
def test_a_weight_far_below_the_largest_is_zero_and_nothing_worse():
    """All mass goes to one neighbour, on either side of the exponential's range."""
    z = torch.arange(9.0).view(1, 1, 3, 3)
    for gap in [50.0, 86.0, 88.0, 104.0, 1e30, float("inf")]:
        el = torch.full((1, 1, 3, 3), -gap)
        el[0, 0, 2, 2] = 0.0
        out = cpu([TapGroup("king", z, el, torch.zeros(1, 9))], torch.full((1, 1, 3, 3), 100.0))
        torch.testing.assert_close(out[0, 0, 1:, 1:], torch.full((2, 2), 8.0))


@pytest.mark.usefixtures("compiled")
def test_the_exponential_is_good_to_the_last_places():
    import numpy as np
    from numba import njit

    from ngat.engines.cpu.simd import LANES, exponential, get, pointer, put

    @njit
    def fill(y, x, count, like):
        for n in range(0, count, LANES):
            put(pointer(y, like), n, exponential(get(pointer(x, like), n)))

    x = -np.linspace(0.0, 100.0, 1 << 18, dtype=np.float32)
    x[-2:] = -1e30, -np.inf
    y = np.empty_like(x)
    fill(y.ctypes.data, x.ctypes.data, x.size, np.float32(0))
    normal = x > -87.0
    error = np.abs(y[normal] / np.exp(x[normal].astype(np.float64)) - 1.0) / 2.0**-23
    assert error[x[normal] > -20.0].max() < 1.0
    assert error.max() < 3.0
    assert y[0] == 1.0
    assert (y[~normal] == 0.0).all()


@pytest.mark.usefixtures("compiled", "two_threads")
@pytest.mark.parametrize("relations", GROUPINGS)
@pytest.mark.parametrize("shape", [(1, 1, 3, 67, 40), (1, 3, 2, 20, 41), (2, 2, 3, 9, 20)])
def test_results_do_not_depend_on_the_number_of_threads(shape, relations, monkeypatch):
    from ngat.engines.cpu import threads as cpu_threads

    monkeypatch.setattr(cpu_threads, "GRAIN", 1)  # nothing is too small for two threads
    groups, er = draw(shape, relations, dtype=torch.float32)
    both = value_and_gradients(cpu, groups, er)
    torch.set_num_threads(1)
    alone = value_and_gradients(cpu, groups, er)
    assert torch.equal(both[0], alone[0])
    for one, other in zip(both[1], alone[1], strict=True):
        assert_agree(one, other.double(), 1e-6)


def pyramid(size, moved, seed=0):
    """Joint attention on three levels: leaves, and (groups, er) made of slices of their products.

    With ``moved``, el is another tensor for every level that hears it, as where nodes have moved.
    """
    heads, channels, batch = 2, 6, 2
    sizes = PyramidGraph(*size, 3).sizes
    generator = torch.Generator().manual_seed(seed)

    def leaf(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    weight, taps = leaf(channels + 2 * heads, 4), leaf(heads, 14)
    inputs = [leaf(batch, 4, h * w) for h, w in sizes]
    parts = [
        torch.bmm(weight.expand(batch, -1, -1), x)
        .unflatten(2, s)
        .split([channels, heads, heads], 1)
        for x, s in zip(inputs, sizes, strict=True)
    ]
    softmaxes = []
    for m in range(3):
        heard = [("king", m, taps[:, :9]), ("child", m - 1, taps[:, 9:13])]
        heard.append(("parent", m + 1, taps[:, 13:]))
        groups = [
            TapGroup(relation, parts[n][0], parts[n][1] * (1 + m) if moved else parts[n][1], t)
            for relation, n, t in heard
            if 0 <= n < 3
        ]
        softmaxes.append((groups, parts[m][2]))
    return softmaxes, [*inputs, weight, taps]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("size", [(1, 1), (6, 8), (9, 5), (18, 35)])
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("unused", [None, 0, 2])
def test_levels_together_are_the_levels_one_by_one(size, moved, unused):
    found = []
    for engine in ("cpu", "reference"):
        softmaxes, leaves = pyramid(size, moved)
        outs = attend_levels(softmaxes, engine)
        loss = sum(out.square().sum() * (m + 1) for m, out in enumerate(outs) if m != unused)
        found.append([*(out.detach() for out in outs), *torch.autograd.grad(loss, leaves)])
    for one, other in zip(*found, strict=True):
        assert_agree(one, other, 1e-12)


@pytest.mark.usefixtures("compiled")
def test_the_gradient_of_a_product_is_written_in_place():
    """z, el and er make up the whole product: autograd has nothing to split or join."""
    softmaxes, _ = pyramid((6, 8), moved=False)
    outs = attend_levels(softmaxes, "cpu")
    names = {type(node).__name__ for node, _ in outs[0].grad_fn.next_functions if node}
    assert not any("Split" in name for name in names)
    softmaxes, _ = pyramid((6, 8), moved=True)
    outs = attend_levels(softmaxes, "cpu")
    names = {type(node).__name__ for node, _ in outs[0].grad_fn.next_functions if node}
    assert any("Split" in name for name in names)


@pytest.mark.usefixtures("compiled")
def test_one_tensor_in_two_roles_gets_both_gradients():
    z, el = (torch.randn(1, n, 4, 5, dtype=torch.float64, requires_grad=True) for n in (6, 2))
    t = torch.zeros(2, 9, dtype=torch.float64)
    grads = [
        torch.autograd.grad(
            attend([TapGroup("king", z, el, t)], el, engine).square().sum(), [z, el]
        )
        for engine in ("cpu", "reference")
    ]
    for one, other in zip(*grads, strict=True):
        assert_agree(one, other, 1e-12)


@pytest.mark.usefixtures("compiled")
def test_slices_that_leave_a_gap_get_their_own_gradients():
    whole = torch.randn(2, 12, 4, 5, dtype=torch.float64, requires_grad=True)
    t = torch.zeros(2, 9, dtype=torch.float64)

    def run(engine, first):
        product = whole * 1.0
        group = TapGroup("king", product[:, first : first + 6], product[:, 8:10], t)
        out = attend([group], product[:, 10:], engine)
        return torch.autograd.grad(out.square().sum(), [whole])[0]

    for first in (0, 1, 5):  # a gap, a gap, and an overlap
        assert_agree(run("cpu", first), run("reference", first), 1e-12)


@pytest.mark.usefixtures("compiled")
def test_only_what_is_asked_for_gets_a_gradient():
    groups, er = draw((1, 2, 3, 4, 5), ("king", "parent"))
    z = groups[0].values.requires_grad_()
    out = cpu(groups, er)
    (gradient,) = torch.autograd.grad(out.sum(), [z])  # an expanded gradient, too
    expected = torch.autograd.grad(reference(groups, er).sum(), [z])[0]
    assert_agree(gradient, expected, 1e-12)
    assert not cpu([groups[1]], er).requires_grad


@pytest.mark.usefixtures("compiled")
def test_auto_takes_this_engine_on_the_cpu():
    assert resolve("auto", torch.zeros(1)) == "cpu"
    assert resolve("auto", torch.zeros(1, dtype=torch.float64)) == "cpu"
    assert resolve("auto", torch.zeros(1, device="meta")) == "reference"


@pytest.mark.usefixtures("without_numba")
def test_without_numba_auto_falls_back_and_the_name_says_how_to_get_it():
    groups, er = draw((1, 2, 3, 4, 4), ("king",))
    assert resolve("auto", er) == "reference"
    torch.testing.assert_close(attend(groups, er), reference(groups, er))
    with pytest.raises(MissingDependency, match="pip install numba"):
        attend(groups, er, "cpu")


@pytest.mark.usefixtures("compiled")
def test_tensors_of_another_device_are_refused():
    groups, er = draw((1, 2, 3, 4, 4), ("king",))
    with pytest.raises(InputError, match="CPU"):
        cpu([TapGroup(g[0], *(t.to("meta") for t in g[1:])) for g in groups], er.to("meta"))
