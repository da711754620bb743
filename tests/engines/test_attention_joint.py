"""The joint layer in one piece against its composition of single operations."""

import pytest
import torch

from ngat.attention import TapGroup, attend
from ngat.graph import RELATIONS, TAP_COUNT, PyramidGraph

pytest.importorskip("numba")

from ngat.engines.cpu.joint import joint_layer

# heads, channels per head, batch, base size, levels
CASES = [
    (1, 3, 1, (1, 1), 2),
    (2, 2, 2, (5, 7), 3),
    (3, 2, 1, (8, 8), 3),
    (4, 8, 1, (33, 18), 4),
    (4, 2, 2, (6, 6), 1),
]


def draw(heads, each, batch, size, levels, dtype=torch.float64, inputs=5):
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    planes = [leaf(batch, inputs, *s) for s in PyramidGraph(*size, levels).sizes]
    taps = {relation: leaf(heads, TAP_COUNT[relation]) for relation in RELATIONS}
    return planes, leaf(heads * (each + 2), inputs), taps


def composed(planes, weight, taps):
    """A product for every level, and the reference engine."""
    heads = len(taps["king"])
    parts = [len(weight) - 2 * heads, heads, heads]
    maps = [torch.einsum("oc,bchw->bohw", weight, h).split(parts, 1) for h in planes]
    outs = []
    for m, (_, _, er) in enumerate(maps):
        groups = [
            TapGroup(relation, *maps[n][:2], taps[relation])
            for relation, n in zip(RELATIONS, (m, m - 1, m + 1), strict=True)
            if 0 <= n < len(maps)
        ]
        outs.append(attend(groups, er, "reference"))
    return outs


def outs_and_gradients(layer, planes, weight, taps, passes=1):
    leaves = [t.clone().requires_grad_() for t in (weight, *taps.values(), *planes)]
    outs = layer(leaves[4:], leaves[0], dict(zip(taps, leaves[1:4], strict=True)))
    loss = sum((out.square() * (1 + m)).sum() for m, out in enumerate(outs))
    for n in range(passes):
        gradients = torch.autograd.grad(
            loss, leaves, retain_graph=n + 1 < passes, allow_unused=True, materialize_grads=True
        )
    return [out.detach() for out in outs], gradients


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("passes", [1, 2])  # the second finds the products gone
def test_the_layer_is_its_composition(case, passes):
    drawn = draw(*case)
    outs, gradients = outs_and_gradients(joint_layer, *drawn, passes)
    expected, expected_gradients = outs_and_gradients(composed, *drawn)
    for one, other in zip([*outs, *gradients], [*expected, *expected_gradients], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_in_float32():
    drawn = draw(*CASES[3], dtype=torch.float32)
    planes, weight, taps = drawn
    exact = [h.double() for h in planes], weight.double(), {k: t.double() for k, t in taps.items()}
    outs, gradients = outs_and_gradients(joint_layer, *drawn)
    expected, expected_gradients = outs_and_gradients(composed, *exact)
    for one, other in zip([*outs, *gradients], [*expected, *expected_gradients], strict=True):
        assert one.dtype == torch.float32
        scale = max(1.0, float(other.abs().max()))
        assert float((one.double() - other).abs().max()) / scale < 1e-5


def test_without_gradients_the_outputs_are_the_same():
    drawn = draw(*CASES[3])
    with torch.no_grad():
        alone = joint_layer(*drawn)
    for one, other in zip(alone, outs_and_gradients(joint_layer, *drawn)[0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_only_what_is_asked_for_gets_a_gradient():
    planes, weight, taps = draw(*CASES[1])
    weight.requires_grad_()
    outs = joint_layer(planes, weight, taps)
    loss = outs[1].sum()  # the other levels' outputs are not used
    found = torch.autograd.grad(loss, [weight])[0]
    expected = torch.autograd.grad(composed(planes, weight, taps)[1].sum(), [weight])[0]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
