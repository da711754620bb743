"""The losses against numbers computed by hand."""

import math

import pytest
import torch

from ngat.config import LossConfig
from ngat.loss import (
    binary_cross_entropy,
    contacts,
    field,
    field_of,
    focal_loss,
    loss_of,
    size_loss,
)
from ngat.model import Output


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def output_of(levels, moves=None):
    """An output from (logits, targets) per level, with nodes at home on a 2 × 2 picture."""
    logits = [f64(*x).view(1, 1, 1, -1) for x, _ in levels]
    targets = [f64(*y).view(1, 1, 1, -1) for _, y in levels]
    moves = moves or [torch.zeros(1, 3, 1, x.shape[-1]).double() for x in logits]
    positions = [torch.full_like(m, 0.5) for m in moves]
    valid = [torch.ones(1, 1, 1, x.shape[-1], dtype=torch.bool) for x in logits]
    return Output(logits, positions, moves, valid, targets)


def test_cross_entropy_by_hand():
    # σ(0) = 1/2; σ(ln 3) = 3/4
    found = binary_cross_entropy(f64(0.0, math.log(3), math.log(3)), f64(1.0, 1.0, 0.0))
    torch.testing.assert_close(found, f64(math.log(2), math.log(4 / 3), math.log(4)))


def test_focal_loss_by_hand():
    found = focal_loss(f64(math.log(3), math.log(3)), f64(1.0, 0.0), gamma=1.0, alpha=0.25)
    # nucleus: 1/4 · (1 − 3/4) · ln(4/3); background: 3/4 · (3/4) · ln 4
    torch.testing.assert_close(found, f64(math.log(4 / 3) / 16, 9 / 16 * math.log(4)))


def test_focal_loss_without_focus_is_half_the_cross_entropy():
    logits, y = torch.randn(50).double(), torch.rand(50).double()
    torch.testing.assert_close(
        focal_loss(logits, y, gamma=0.0, alpha=0.5), 0.5 * binary_cross_entropy(logits, y)
    )


def test_a_soft_target_is_the_mean_over_the_pixels_it_covers():
    logit = f64(0.7)
    of_pixels = [focal_loss(logit, f64(y), 0.8, 0.3) for y in (1.0, 0.0, 0.0, 0.0)]
    torch.testing.assert_close(
        focal_loss(logit, f64(0.25), 0.8, 0.3), torch.stack(of_pixels).mean(0)
    )


def test_focal_loss_survives_extreme_logits():
    logits = f64(-1e4, 1e4).requires_grad_()
    found = focal_loss(logits, f64(1.0, 0.0), 1.0, 0.5)
    torch.testing.assert_close(found.detach(), f64(5e3, 5e3))
    found.sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("x", "y", "z", "norm", "total"),
    [
        (0.5, 0.5, 0.3, 1.0, 1.0),  # the middle of a cell: ζ = (0, 1, 0)
        (0.0, 0.5, 0.3, 1.0, 1.0),  # left edge: ζ = (1, 0, 0)
        (1.0, 0.5, 0.3, 1.0, -1.0),  # right edge: ζ = (−1, 0, 0): the sum un-trains there
        (0.5, 0.0, 0.3, 0.3, 0.3),  # upper edge: ζ = (0, 0, z)
        (0.5, 1.0, 0.3, 0.3, -0.3),
        (0.25, 0.25, 0.0, math.sqrt(0.5), 1.0),  # ζ = (1/2, 1/2, 0)
    ],
)
def test_field_at_chosen_points(x, y, z, norm, total):
    torch.testing.assert_close(field(f64(x), f64(y), f64(z)), f64(norm))
    torch.testing.assert_close(field(f64(x), f64(y), f64(z), "sum"), f64(total))


def test_field_norm_by_its_formula():
    x, y, z = torch.rand(3, 100, dtype=torch.float64)
    expected = torch.sqrt(torch.sin(torch.pi * y) ** 2 + (z * torch.cos(torch.pi * y)) ** 2)
    torch.testing.assert_close(field(x, y, z), expected)


def test_balanced_loss_by_hand():
    output = output_of([((0.0, 0.0), (1.0, 1.0)), ((math.log(3),), (0.0,))])
    total, levels = loss_of(output, LossConfig(gamma=1.0, alpha=0.5, level_decay=0.5))
    base = 0.5 * 0.5 * math.log(2)
    coarse = 0.5 * 0.75 * math.log(4)
    assert levels[0].item() == pytest.approx(base)
    assert levels[1].item() == pytest.approx(coarse)
    assert total.item() == pytest.approx((base + 0.5 * coarse) / 1.5)


def test_duplicating_all_base_nodes_leaves_the_balanced_loss_unchanged():
    once = output_of([((0.3, -1.0), (1.0, 0.0)), ((0.5,), (0.25,))])
    twice = output_of([((0.3, -1.0) * 2, (1.0, 0.0) * 2), ((0.5,), (0.25,))])
    torch.testing.assert_close(loss_of(once, LossConfig())[0], loss_of(twice, LossConfig())[0])


def test_a_node_that_left_the_middle_of_its_cell_counts_less():
    moves = [torch.zeros(1, 3, 1, 1).double(), torch.tensor([0.0, 0.25, 0.0]).view(1, 3, 1, 1)]
    levels = [((0.0,), (1.0,)), ((0.0,), (1.0,))]
    at_home = loss_of(output_of(levels), LossConfig())[1][1]
    moved = loss_of(output_of(levels, [m.double() for m in moves]), LossConfig())[1][1]
    weight = math.sqrt(math.sin(0.75 * math.pi) ** 2 + (0.5 * math.cos(0.75 * math.pi)) ** 2)
    assert moved.item() == pytest.approx(weight * at_home.item())


def test_the_field_of_a_patch_by_hand() -> None:
    """Two rows of four nodes, one of which moved: positions are shares of the longer side."""
    z = 1 / (4 * math.sqrt(2))
    rows, columns = torch.meshgrid(f64(0.5, 1.5), f64(0.5, 1.5, 2.5, 3.5), indexing="ij")
    home = torch.stack([columns / 4, rows / 4, torch.full_like(rows, z)])[None]
    home[0, 1, 0, 1] = 0.5 / 2  # half-way down
    moves = torch.zeros_like(home).requires_grad_()
    output = Output([], [home + moves], [moves], [], [])
    found = field_of(output, 0, "patch")
    expected = torch.full_like(rows, math.sqrt(0.5 + 0.5 * z**2))  # a quarter down, or up
    expected[0, 1] = 1.0
    torch.testing.assert_close(found, expected[None, None])
    for reading in ("norm", "sum", "patch", "none"):
        assert not field_of(output, 0, reading).requires_grad


def test_the_reading_of_a_cells_field_is_the_one_that_was_asked_for() -> None:
    """A node a quarter of its cell to the right and down, at half the height of the picture."""
    move = f64(0.25, 0.25, 0.0).view(1, 3, 1, 1)
    output = output_of([((0.0,), (1.0,)), ((0.0,), (1.0,))], [0 * move, move])
    cos, sin = math.cos(0.75 * math.pi), math.sin(0.75 * math.pi)
    parts = cos * sin, sin**2, 0.5 * cos
    total = field_of(output, 1, "sum").item()
    assert total == pytest.approx(sum(parts))
    assert field_of(output, 1, "norm").item() == pytest.approx(math.hypot(*parts))


def test_without_a_field_all_nodes_of_a_level_count_alike() -> None:
    levels = [((0.3, -1.0), (1.0, 0.0)), ((0.5,), (0.25,))]
    moves = [torch.full((1, 3, 1, n), 0.25).double() for n in (2, 1)]
    config = LossConfig(field="none")
    moved, home = (loss_of(output_of(levels, m), config)[0] for m in (moves, None))
    torch.testing.assert_close(moved, home)
    assert loss_of(output_of(levels, moves), LossConfig())[0] < 0.9 * home


def test_invalid_nodes_do_not_count():
    output = output_of([((0.0, 5.0), (1.0, 0.0))])
    output.valid[0][..., 1] = False
    total, _ = loss_of(output, LossConfig(kind="bce"))
    assert total.item() == pytest.approx(math.log(2))


def test_unbalanced_kinds_look_at_the_base_alone():
    levels = [((0.0,), (1.0,)), ((9.0,), (0.0,))]
    for kind, expected in (("bce", math.log(2)), ("focal", 0.25 * math.log(2))):
        total, per_level = loss_of(output_of(levels), LossConfig(kind=kind))
        assert total.item() == pytest.approx(expected)
        assert len(per_level) == 1


def test_core_channel_weight():
    logits = f64(0.0, 2.0).view(1, 2, 1, 1)
    output = output_of([((0.0,), (1.0,))])._replace(
        logits=[logits], targets=[torch.ones_like(logits)]
    )
    total, _ = loss_of(output, LossConfig(kind="bce", core_weight=0.5))
    expected = (math.log(2) + 0.5 * math.log1p(math.exp(-2.0))) / 1.5
    assert total.item() == pytest.approx(expected)


def test_contacts_are_the_places_with_two_nuclei_near():
    """Against a search of every pixel's surroundings."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(0, 4, (2, 1, 13, 17), generator=generator).float()
    numbers *= torch.rand(numbers.shape, generator=generator) > 0.7
    found = contacts(numbers)
    for n in range(2):
        for row in range(13):
            for column in range(17):
                near = numbers[
                    n, 0, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3
                ].unique()
                assert bool(found[n, 0, row, column]) == (len(near[near > 0]) > 1)
    assert not contacts(torch.zeros(1, 1, 5, 5)).any()


def test_nodes_between_nuclei_count_more():
    output = output_of([((0.0, 3.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0))])
    numbers = f64(1.0, 2.0, 0.0, 0.0).view(1, 1, 1, 4)  # the last node is too far from the first
    config = LossConfig(kind="bce", contact=5.0)
    total, _ = loss_of(output, config, numbers)
    at_zero, at_three = math.log(2), math.log1p(math.exp(-3.0))
    assert total.item() == pytest.approx((6 * (2 * at_zero + at_three) + at_zero) / 4)
    plain = loss_of(output, LossConfig(kind="bce"))[0]
    torch.testing.assert_close(loss_of(output, config)[0], plain)
    torch.testing.assert_close(loss_of(output, LossConfig(kind="bce"), numbers)[0], plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 0.9, 1.0, 2.0, 5.0])
def test_losses_and_their_slopes_at_saturation(gamma, alpha, dtype):
    """Against the formula with many digits, for logits up to ±100 and soft targets."""
    mpmath = pytest.importorskip("mpmath")
    grid = [-100.0, -88.0, -30.0, -17.5, -1.0, 0.0, 1.0, 17.5, 30.0, 88.0, 100.0]
    for y in (0.0, 0.25, 1.0):

        def exact(x, y=y):
            p = 1 / (1 + mpmath.exp(-x))
            q = 1 / (1 + mpmath.exp(x))
            return -alpha * y * q**gamma * mpmath.log(p) - (1 - alpha) * (
                1 - y
            ) * p**gamma * mpmath.log(q)

        x = torch.tensor(grid, dtype=dtype, requires_grad=True)
        loss = focal_loss(x, torch.full((len(grid),), y), gamma, alpha)
        (slope,) = torch.autograd.grad(loss.sum(), [x])
        with mpmath.workdps(60):
            values = [float(exact(mpmath.mpf(v))) for v in x.tolist()]
            slopes = [float(mpmath.diff(exact, mpmath.mpf(v))) for v in x.tolist()]
        # Values of float32 below 1e-38 may be zero.
        tolerance = {"rtol": 2e-2 if dtype == torch.bfloat16 else 2e-5, "atol": 1e-30}
        torch.testing.assert_close(loss.detach().double(), f64(*values), rtol=2e-5, atol=1e-30)
        torch.testing.assert_close(slope.double(), f64(*slopes), **tolerance)


@pytest.mark.parametrize("kind", ["bce", "focal", "balanced"])
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 4.0])
def test_every_kind_of_loss_has_finite_gradients_at_saturation(kind, gamma):
    logits = torch.tensor([-100.0, -20.0, 0.0, 20.0, 100.0]).view(1, 1, 1, -1)
    for y in (0.0, 0.5, 1.0):
        leaves = [logits.clone().requires_grad_() for _ in range(2)]
        home = torch.zeros(1, 3, 1, 5)
        valid = torch.ones(1, 1, 1, 5, dtype=torch.bool)
        output = Output(leaves, [home + 0.5] * 2, [home] * 2, [valid] * 2, [logits * 0 + y] * 2)
        loss, _ = loss_of(output, LossConfig(kind, gamma=gamma))
        used = leaves if kind == "balanced" else leaves[:1]
        assert loss.isfinite()
        for gradient in torch.autograd.grad(loss, used):
            assert gradient.isfinite().all()


# ------------------------------------------------------------------ the size output


def test_the_size_loss_counts_nuclei_alone_and_ends_at_zero() -> None:
    y = torch.zeros(1, 3, 2, 2)
    y[0, :, 0, 0] = torch.tensor([1.0, 0.0, 0.7])  # a whole nucleus
    y[0, :, 0, 1] = torch.tensor([0.5, 0.0, 0.2])  # half a nucleus of size 0.4
    weight = torch.ones(1, 1, 2, 2)
    right = torch.logit(torch.tensor([[[[0.7, 0.4], [0.9, 0.1]]]]))
    assert float(size_loss(right, y, weight)) == pytest.approx(0, abs=1e-6)
    off = right.clone()
    off[0, 0, 0, 1] = 0.0  # says 0.5 where 0.4 is right, on half a nucleus of one and a half
    expected = 0.4 * math.log(0.4 / 0.5) + 0.6 * math.log(0.6 / 0.5)
    assert float(size_loss(off, y, weight)) == pytest.approx(expected * 0.5 / 1.5, rel=1e-4)
    elsewhere = right.clone()
    elsewhere[0, 0, 1] = 50.0
    assert float(size_loss(elsewhere, y, weight)) == pytest.approx(0, abs=1e-6)
    assert float(size_loss(right, torch.zeros_like(y), weight)) == 0


def test_the_size_output_has_its_own_weight_and_that_of_the_nodes() -> None:
    """Four nodes, of which three lie between two nuclei; the fourth says a wrong size."""
    logits = torch.zeros(1, 3, 1, 4).double()
    logits[0, 2, 0, 3] = 2.0
    y = torch.zeros_like(logits)
    y[0, 0, 0], y[0, 2, 0] = f64(1.0, 1.0, 0.0, 1.0), f64(0.5, 0.5, 0.0, 0.5)
    output = output_of([((0.0,) * 4, (1.0,) * 4)])._replace(logits=[logits], targets=[y])
    config = LossConfig(kind="bce", contact=5.0, core_weight=0.5, size_weight=2.0)
    total, _ = loss_of(output, config, f64(1.0, 2.0, 0.0, 0.0).view(1, 1, 1, 4))
    nodes = (3 * 6 + 1) * math.log(2) / 4  # of the nucleus, and of its core
    wrong = math.log1p(math.exp(2.0)) - 1.0 - math.log(2)
    size = wrong / (6 + 6 + 0 + 1)
    assert total.item() == pytest.approx((nodes + 0.5 * nodes + 2 * size) / 3.5, rel=1e-6)


def test_coarse_nodes_between_nuclei_count_no_more() -> None:
    levels = [((0.0,) * 4, (1.0,) * 4), ((0.0,) * 4, (1.0,) * 4)]
    numbers = f64(1.0, 2.0, 0.0, 0.0).view(1, 1, 1, 4)
    base, coarse = loss_of(output_of(levels), LossConfig(contact=5.0), numbers)[1]
    assert base.item() == pytest.approx((3 * 6 + 1) / 4 * coarse.item())
