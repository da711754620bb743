"""Maps that take the normalisation into their weights, against norm and maps in turn."""

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("numba")

from ngat.config import ModelConfig
from ngat.engines.cpu.normed import Fold, Nodes, normed_maps
from ngat.engines.cpu.products import linear, products
from ngat.model import Norm

DOUBLE, SINGLE = torch.float64, torch.float32
SHAPES = [  # batch, K, M, h, w: rows and nodes that fill no tile, and more than a strip of nodes
    (1, 1, 1, 1, 1),
    (2, 5, 7, 3, 5),
    (3, 8, 20, 13, 7),
    (2, 32, 36, 33, 17),
]


def slices(batch, channels, h, w, dtype):
    """Planes that are channels of a larger tensor, as attention's parts of a product are."""
    return torch.randn(batch, channels + 3, h, w, dtype=dtype)[:, 1 : channels + 1]


def tolerances(dtype):
    return {"rtol": 1e-11, "atol": 1e-11} if dtype == DOUBLE else {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_linear_and_all_that_it_adds(shape, dtype, threads):
    torch.manual_seed(0)
    batch, depth, rows, h, w = shape
    x, base, more, gate = (slices(batch, n, h, w, dtype) for n in (depth, rows, rows, rows))
    weight, shift, k = (torch.randn(batch, rows, *n, dtype=dtype) for n in ([depth], [], []))
    plain = torch.einsum("bmk,bkyx->bmyx", weight, x)
    full = plain + shift[..., None, None] + base + k[..., None, None] * more
    full = torch.where(gate > 0, full, 0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        out = slices(batch, rows, h, w, dtype)
        assert linear(x, weight, out) is None
        torch.testing.assert_close(out, plain, **tolerances(dtype))
        moments = linear(
            x, weight, out, shift=shift, base=base, more=(k, more), gate=gate, moments=True
        )
        torch.testing.assert_close(out, full, **tolerances(dtype))
        sums = torch.stack([full.double().sum((2, 3)), full.double().square().sum((2, 3))], 2)
        torch.testing.assert_close(moments, sums, **tolerances(dtype))
        linear(x, weight[0], out, shift=shift[0])  # the same for all pictures
        one = torch.einsum("mk,bkyx->bmyx", weight[0], x) + shift[0][:, None, None]
        torch.testing.assert_close(out, one, **tolerances(dtype))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_products_are_sums_over_nodes(shape, dtype, threads):
    torch.manual_seed(0)
    batch, depth, rows, h, w = shape
    x, d = slices(batch, depth, h, w, dtype), slices(batch, rows, h, w, dtype)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        g, r = products(d, x)
    finally:
        torch.set_num_threads(before)
    expected = torch.einsum("bmyx,bkyx->bmk", d.double(), x.double())
    torch.testing.assert_close(g, expected, **tolerances(dtype))
    torch.testing.assert_close(r, d.double().sum((2, 3)), **tolerances(dtype))


@pytest.mark.parametrize("kind", ["group", "batch", "none"])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [(13, 7), (40, 33)])
def test_normed_maps_are_maps_of_the_norm(kind, known, size):
    """Value and gradient, whether the moments are known or not, far from a mean of zero."""
    torch.manual_seed(0)
    norm = Norm(ModelConfig(channels=8, heads=2, norm=kind, norm_groups=2))
    h = (3 * torch.randn(3, 8, *size, dtype=DOUBLE) + 5).requires_grad_()
    weight = torch.randn(11, 8, dtype=DOUBLE, requires_grad=True)
    bias = torch.randn(11, dtype=DOUBLE, requires_grad=True)
    moments = torch.stack([h.sum((2, 3)), h.square().sum((2, 3))], 2)
    nodes = Nodes(h, norm, 0, moments if known else None)
    found, sums, _ = normed_maps(h, nodes.fold, weight, bias)
    expected = F.conv2d(norm(h), weight[..., None, None], bias)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(sums[..., 0], expected.sum((2, 3)), rtol=1e-9, atol=1e-9)
    direction, leaves = torch.randn_like(expected), (h, weight, bias)
    gradients = torch.autograd.grad(found, leaves, direction)
    references = torch.autograd.grad(expected, leaves, direction)
    for one, other in zip(gradients, references, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_normed_maps_in_float32_keep_a_far_mean_out():
    """A mean of a hundred deviations costs two digits, not all of them."""
    torch.manual_seed(0)
    h = 100 + torch.randn(1, 4, 32, 32, dtype=DOUBLE)
    weight, bias = torch.randn(6, 4, dtype=DOUBLE), torch.zeros(6, dtype=DOUBLE)
    expected = F.conv2d(F.group_norm(h, 2), weight[..., None, None])
    x = h.float()
    sums = torch.stack([x.double().sum((2, 3)), x.double().square().sum((2, 3))], 2)
    norm = Norm(ModelConfig(channels=4, heads=2, norm_groups=2))
    found, *_ = normed_maps(x, Nodes(x, norm, 0, sums).fold, weight.float(), bias.float())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-4)


def test_no_gradient_is_made_for_what_asks_for_none():
    x = torch.randn(2, 4, 6, 5, dtype=DOUBLE)
    weight = torch.randn(3, 4, dtype=DOUBLE, requires_grad=True)
    fold = Fold(torch.zeros(2, 4, 2, dtype=DOUBLE), 2, 1.0)
    out, *_ = normed_maps(x, fold, weight, torch.zeros(3, dtype=DOUBLE))
    out.sum().backward()
    torch.testing.assert_close(weight.grad, x.sum((0, 2, 3)).expand(3, 4))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [(13, 7), (33, 20)])
def test_gradients_reach_maps_through_the_moments_of_what_they_made(known, size):
    """Maps of maps, the second of them normalised with the moments that the first took."""
    torch.manual_seed(0)
    norm = Norm(ModelConfig(channels=8, heads=2, norm_groups=4))
    x = (2 * torch.randn(3, 8, *size, dtype=DOUBLE) + 1).requires_grad_()
    first, second = (torch.randn(8, 8, dtype=DOUBLE, requires_grad=True) for _ in range(2))
    bias = torch.randn(8, dtype=DOUBLE, requires_grad=True)
    middle, sums, _ = normed_maps(x, Nodes(x, norm, 0).fold if known else None, first, bias)
    found, *_ = normed_maps(middle, Nodes(middle, norm, 0, sums).fold, second, bias)
    plain = F.group_norm(x, 4, eps=1e-5) if known else x
    plain = F.group_norm(F.conv2d(plain, first[..., None, None], bias), 4, eps=1e-5)
    expected = F.conv2d(plain, second[..., None, None], bias)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    direction, leaves = torch.randn_like(expected), (x, first, second, bias)
    gradients = torch.autograd.grad(found, leaves, direction)
    references = torch.autograd.grad(expected, leaves, direction)
    for one, other in zip(gradients, references, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)
