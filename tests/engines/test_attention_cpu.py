"""The CPU engine against the reference: values, gradients, layouts, threads, what is missing."""

import sys

import pytest
import torch
from attention_cases import GROUPINGS, SHAPES, draw, value_and_gradients

import ngat.engines.cpu
from ngat.attention import TapGroup, attend, installed, resolve
from ngat.config import preset
from ngat.errors import InputError, MissingDependency
from ngat.model import NGAT

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
    for name in [name for name in sys.modules if name.startswith("ngat.engines.cpu.")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(ngat.engines.cpu, name.rpartition(".")[2], raising=False)
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

    from ngat.engines.cpu.exponential import exponential
    from ngat.engines.cpu.simd import SIMD, get, pointer, put

    @njit
    def fill(y, x, count, like):
        for n in range(0, count, SIMD):
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
    from ngat.engines.cpu import compile as cpu_compile

    monkeypatch.setattr(cpu_compile, "GRAIN", 1)  # nothing is too small for two threads
    groups, er = draw(shape, relations, dtype=torch.float32)
    both = value_and_gradients(cpu, groups, er)
    torch.set_num_threads(1)
    alone = value_and_gradients(cpu, groups, er)
    assert torch.equal(both[0], alone[0])
    for one, other in zip(both[1], alone[1], strict=True):
        assert_agree(one, other.double(), 1e-6)


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
    with pytest.raises(InputError, match="on 'meta': move them there, or choose the engine 'auto'"):
        cpu([TapGroup(g[0], *(t.to("meta") for t in g[1:])) for g in groups], er.to("meta"))
    with torch.device("meta"):
        model = NGAT(preset("smoke", engine="cpu").model)
    with pytest.raises(InputError, match="The engine 'cpu' computes on the CPU"):
        model(torch.zeros(1, 3, 8, 8, device="meta"))


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("relations", GROUPINGS)
def test_slices_of_one_tensor_have_gradients_of_their_own(relations):
    """In the slices, not only in what they are slices of, although together they are all of it."""
    found = []
    for engine in (cpu, reference):
        groups, er = draw((2, 2, 3, 5, 6), relations)
        views, leaves = [], []
        for relation, z, el, tap in groups:
            product = torch.cat([z, el], dim=1).requires_grad_() * 1.0
            slices = product.split([z.shape[1], el.shape[1]], 1)
            views.append(TapGroup(relation, *slices, tap))
            leaves += [*slices, product]
        found.append(torch.autograd.grad(engine(views, er).sin().sum(), leaves))
    for one, other in zip(*found, strict=True):
        assert_agree(one, other, 1e-12)


BAD = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("relations", GROUPINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_finite_stays_so_wherever_the_reference_says(relations, bad, dtype):
    """One number of every input in turn, forward and backward; NaN stays NaN."""
    count = 3 * len(relations) + 1
    for spoilt in range(count):
        groups, er = draw((1, 2, 3, 9, 21), relations, dtype=dtype)
        tensors = [tensor for group in groups for tensor in group[1:]] + [er]
        tensors[spoilt].view(-1)[tensors[spoilt].numel() // 2 - 1] = bad
        expected, expected_gradients = value_and_gradients(reference, groups, er)
        found, gradients = value_and_gradients(cpu, groups, er)
        for one, other in ((found, expected), *zip(gradients, expected_gradients, strict=True)):
            assert torch.equal(one.isfinite(), other.isfinite()), spoilt
            if bad != bad:
                assert torch.equal(one.isnan(), other.isnan()), spoilt


@pytest.mark.usefixtures("compiled")
def test_a_node_that_nothing_reaches_has_no_weights():
    """All scores −∞: NaN, as a softmax has it."""
    groups, er = draw((1, 2, 3, 9, 21), ("king", "child"))
    er[0, 1, 4, 20] = -torch.inf
    for engine in (cpu, reference):
        out = engine(groups, er)
        assert out[0, 3:, 4, 20].isnan().all()
        assert out.isnan().sum() == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sigmoid_is_the_same_wherever_a_number_stands(dtype):
    from ngat.engines.cpu.attend import sigmoid

    x = 12 * torch.randn(2, 1003, dtype=dtype, generator=torch.Generator().manual_seed(0))
    found = sigmoid(x)
    expected = torch.sigmoid(x.double())
    torch.testing.assert_close(found.double(), expected, rtol=4e-7, atol=0)
    for step in (1, 7, 100):
        parts = [sigmoid(part) for part in x.split(step, 1)]
        assert torch.equal(torch.cat(parts, 1), found)
    special = sigmoid(torch.tensor([0.0, torch.inf, -torch.inf, torch.nan], dtype=dtype))
    assert special[:3].tolist() == [0.5, 1.0, 0.0]
    assert special[3].isnan()
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(sigmoid(x).sum(), x)
    torch.testing.assert_close(gradient.double(), expected * (1 - expected), rtol=1e-3, atol=1e-7)
