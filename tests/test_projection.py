"""The box mean against a brute-force sum over pixels, and its derivative."""

import numpy as np
import pytest
import torch

from ngat.config import ModelConfig
from ngat.graph import PyramidGraph
from ngat.plasticity import Plasticity
from ngat.projection import (
    footprints,
    home_positions,
    integral_image,
    project,
    project_home,
    projector,
)


def brute_force(picture, left, right, top, bottom):
    """Mean of a picture [C, H, W] over a fractional box: every pixel by its overlap."""
    height, width = picture.shape[-2:]
    over_x = np.clip(
        np.minimum(np.arange(width) + 1, right) - np.maximum(np.arange(width), left), 0, 1
    )
    over_y = np.clip(
        np.minimum(np.arange(height) + 1, bottom) - np.maximum(np.arange(height), top), 0, 1
    )
    rows, columns = np.flatnonzero(over_y), np.flatnonzero(over_x)
    weight = over_y[rows, None] * over_x[None, columns]
    under = picture[:, rows][:, :, columns].astype(float)
    return (under * weight).sum((-1, -2)) / weight.sum(), weight.sum()


def random_positions(rng, height, width, h, w):
    """Pyramids of 1 to 8 pixels that may overhang the picture by less than half."""
    longer = max(height, width)
    side = rng.uniform(1.0, 8.0, (h, w))
    x, y = rng.uniform(0, width, (h, w)), rng.uniform(0, height, (h, w))
    return torch.from_numpy(np.stack([x, y, side / np.sqrt(2)])[None] / longer)


@pytest.mark.parametrize("size", [(24, 24), (17, 31), (40, 9)])
def test_mean_equals_brute_force(size):
    rng = np.random.default_rng(0)
    picture = rng.uniform(0, 1, (2, *size))
    positions = random_positions(rng, *size, 5, 7)
    mean, valid = project(integral_image(torch.from_numpy(picture)[None]), positions)
    boxes = [side[0].numpy() for side in footprints(positions, *size)]
    assert valid.any()
    for y in range(5):
        for x in range(7):
            expected, area = brute_force(picture, *(side[y, x] for side in boxes))
            assert bool(valid[0, 0, y, x]) == (area >= 1)
            if area >= 1:
                np.testing.assert_allclose(mean[0, :, y, x], expected, atol=1e-10)
            else:
                assert (mean[0, :, y, x] == 0).all()


def test_at_home_the_feature_is_the_mean_of_the_cell():
    rng = np.random.default_rng(1)
    picture = torch.from_numpy(rng.uniform(0, 1, (2, 3, 16, 24)))
    graph = PyramidGraph(16, 24, 4)
    for m in range(4):
        mean, valid = project(integral_image(picture), home_positions(graph, m, picture))
        cells = torch.nn.functional.avg_pool2d(picture, 2**m)
        torch.testing.assert_close(mean, cells, rtol=1e-10, atol=1e-10)
        assert valid.all()


@pytest.mark.parametrize("size", [(5, 7), (9, 1), (33, 18)])
def test_cells_that_overhang_average_what_they_have(size):
    graph = PyramidGraph(*size, 3)
    flat = torch.full((1, 1, *size), 0.25, dtype=torch.float64)
    for m in range(3):
        mean, valid = project(integral_image(flat), home_positions(graph, m, flat))
        assert valid.all()
        torch.testing.assert_close(mean, torch.full_like(mean, 0.25))


def test_derivative_in_x_y_z_by_finite_differences():
    rng = np.random.default_rng(2)
    picture = torch.from_numpy(rng.uniform(0, 1, (1, 2, 12, 14)))
    integral = integral_image(picture)
    # Edges of the boxes stay away from pixel edges, where the derivative jumps.
    x, y = np.meshgrid(np.array([3.3, 7.4]), np.array([4.2, 6.3]))
    side = np.array([[2.13, 3.27], [4.19, 1.41]])
    positions = torch.from_numpy(np.stack([x, y, side / np.sqrt(2)])[None] / 14).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: project(integral, p)[0], [positions], eps=1e-7)


@pytest.mark.parametrize("size", [(16, 24), (17, 31), (64, 96)])
def test_on_pixel_edges_every_engine_takes_the_derivative_of_one_side(size):
    """At home all boxes end there, and there the derivative jumps: training begins with it."""
    integral = integral_image(torch.rand(1, 2, *size, dtype=torch.float64))
    for level in (1, 2):
        home = home_positions(PyramidGraph(*size, 3), level, integral)
        plain, fast = home.clone().requires_grad_(), home.clone().requires_grad_()
        (expected,) = torch.autograd.grad(project(integral, plain)[0].square().sum(), plain)
        (found,) = torch.autograd.grad(fused_project(integral, fast)[0].square().sum(), fast)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_float32_pictures_of_1024_pixels_keep_their_precision():
    rng = np.random.default_rng(3)
    picture = rng.uniform(0, 1, (1, 1024, 1024)).astype(np.float32)
    positions = random_positions(rng, 1024, 1024, 12, 12).float()
    mean, valid = project(integral_image(torch.from_numpy(picture)[None]), positions)
    boxes = [side[0].numpy() for side in footprints(positions, 1024, 1024)]
    worst = max(
        abs(float(mean[0, 0, y, x]) - brute_force(picture, *(s[y, x] for s in boxes))[0])
        for y, x in zip(*np.nonzero(valid[0, 0].numpy()), strict=True)
    )
    assert worst < 5e-5


def test_a_pyramid_outside_the_picture_is_invalid():
    positions = torch.tensor([0.01, 0.01, 0.05]).view(1, 3, 1, 1)
    mean, valid = project(integral_image(torch.ones(1, 1, 10, 10)), positions)
    assert not valid.any()
    assert (mean == 0).all()


@pytest.mark.parametrize("size", [(16, 16), (24, 13), (9, 31)])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_home_needs_no_look_ups(size, level):
    """Unless a cell overhangs by half, what is seen at home is the mean of the cell's pixels."""
    picture = torch.rand(2, 3, *size, dtype=torch.float64)
    graph = PyramidGraph(*size, 4)
    integral = integral_image(picture)
    found = project_home(integral, level)
    mean, valid = project(integral, home_positions(graph, level, picture))
    assert found.shape == (2, 3, *graph.sizes[level])
    inside = torch.from_numpy(graph.home(level) < 1).all(0)
    torch.testing.assert_close(found[:, :, inside], mean[:, :, inside], rtol=1e-11, atol=1e-11)
    assert valid[:, :, inside].all()
    cell = picture[0, :, -(size[0] % 2**level or 2**level) :, -(size[1] % 2**level or 2**level) :]
    torch.testing.assert_close(found[0, :, -1, -1], cell.mean((1, 2)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("size", [(16, 16), (5, 5), (3, 9), (13, 12)])
def test_plasticity_sees_at_home_what_it_projects_there(size):
    """Also where eq. 7 pushes nodes of large cells back into the picture."""
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    graph = PyramidGraph(*size, 4)
    placement = Plasticity(ModelConfig(levels=4, plasticity="fixed"))(image, graph)
    for m in range(1, 4):
        mean, valid = project(integral_image(image), placement.positions[m])
        torch.testing.assert_close(placement.features[m], mean, rtol=1e-11, atol=1e-11)
        assert torch.equal(placement.valid[m], valid)


def fused_project(integral, positions):
    pytest.importorskip("numba")
    from ngat.engines.cpu import projection as projection_cpu

    return projection_cpu.project(integral, positions)


@pytest.mark.parametrize("size", [(24, 24), (17, 31), (40, 9)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("threads", [1, 2])
def test_fused_projection_is_the_projection(size, dtype, threads, monkeypatch):
    """Value and gradient, where pyramids overhang the picture, and where they miss it."""
    pytest.importorskip("numba")
    from ngat.engines.cpu import compile as cpu_compile
    from ngat.engines.cpu import projection as projection_cpu

    monkeypatch.setattr(cpu_compile, "GRAIN", 1)
    rng = np.random.default_rng(4)
    pictures = torch.from_numpy(rng.uniform(0, 1, (3, 2, *size))).to(dtype)
    positions = torch.cat([random_positions(rng, *size, 7, 5) for _ in range(3)]).to(dtype)
    positions[0, :, 0, 0] = torch.tensor([0.01, 0.01, 0.01])
    positions.requires_grad_()
    integral = projection_cpu.integral_image(pictures)
    rounded = 0 if dtype == torch.float64 else pictures[0, 0].numel() * 2**-29  # pixels to 2^-28
    torch.testing.assert_close(integral, integral_image(pictures), rtol=1e-12, atol=1e-12 + rounded)
    expected, expected_valid = project(integral, positions)
    direction = torch.randn_like(expected)
    (reference,) = torch.autograd.grad(expected, positions, direction)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found, valid = fused_project(integral, positions)
        (gradient,) = torch.autograd.grad(found, positions, direction.to(dtype))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(valid, expected_valid)
    assert not valid.all()
    single = {} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-4}
    close = single or {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(found, expected.to(dtype), **close)
    torch.testing.assert_close(gradient, reference, **close)


def test_fused_projection_serves_a_whole_batch_with_one_set_of_positions():
    rng = np.random.default_rng(5)
    integral = integral_image(torch.from_numpy(rng.uniform(0, 1, (3, 2, 12, 14))))
    positions = random_positions(rng, 12, 14, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: fused_project(integral, p)[0], [positions], eps=1e-7)
    torch.testing.assert_close(
        fused_project(integral, positions)[0], project(integral, positions)[0]
    )


def test_a_fused_mean_is_the_same_wherever_its_box_lies():
    """To the last bit, so that a tile sees what the whole picture shows."""
    pytest.importorskip("numba")
    from ngat.engines.cpu import projection as projection_cpu
    from ngat.plasticity import positions_after

    rng = np.random.default_rng(6)
    pixels = torch.from_numpy(rng.uniform(0, 1, (1, 3, 203, 331)).astype(np.float32))
    top, left, level = 64, 112, 2
    moves = torch.from_numpy(rng.uniform(-0.4, 0.4, (1, 3, 51, 83)).astype(np.float32))
    means = []
    for y, x in ((0, 0), (top, left)):
        part = pixels[..., y:, x:]
        graph = PyramidGraph(*part.shape[2:], level + 1)
        home = torch.from_numpy(graph.home(level))[None]
        own = moves[..., y // 4 :, x // 4 :]
        positions = positions_after(home, own, level, max(part.shape[2:]))
        means.append(projection_cpu.project(projection_cpu.integral_image(part), positions)[0])
    inner = (..., slice(2, -1), slice(2, -1))  # boxes inside the part, and no node beyond an end
    whole = means[0][..., top // 4 :, left // 4 :]
    assert torch.equal(means[1][inner].float(), whole[inner].float())


def test_a_gradient_of_the_picture_takes_the_reference():
    picture = torch.rand(1, 3, 8, 8)
    assert projector("auto", picture.requires_grad_()).project is project
    assert projector("reference", picture.detach()).project is project
