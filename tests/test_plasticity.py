"""Plasticity: identity at the start, bounds for any weights, gradients by finite differences."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ngat.config import ModelConfig
from ngat.graph import PyramidGraph
from ngat.plasticity import REACH, Plasticity
from ngat.projection import home_positions, integral_image, project


def picture(height=24, width=20, seed=0):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)).double()


def plastic(kind, **more):
    torch.manual_seed(0)
    return Plasticity(ModelConfig(levels=4, plasticity=kind, **more)).double()


KINDS = [
    ("fixed", {}),
    ("table", {}),
    ("xi", {}),
    ("xi", {"plasticity_squash": "centred"}),
]


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_starts_at_home(kind, more):
    graph = PyramidGraph(24, 20, 4)
    placement = plastic(kind, **more)(picture(), graph)
    for m in range(4):
        home = home_positions(graph, m, picture()).expand(2, -1, -1, -1)
        torch.testing.assert_close(placement.positions[m], home, rtol=0, atol=1e-12)
        assert (placement.moves[m] == 0).all()


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize(("kind", "more"), KINDS[1:])
@pytest.mark.parametrize("size", [(24, 20), (17, 9)])
def test_positions_stay_inside_their_bounds_for_any_weights(kind, more, scale, size):
    module = plastic(kind, plasticity_steps=5, **more)
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).double() * scale
    graph = PyramidGraph(*size, 4)
    placement = module(picture(*size), graph)
    travelled = 0.0
    for m in range(4):
        home = home_positions(graph, m, picture())
        cell = 2.0**m / max(size)
        moved = placement.positions[m] - home
        assert placement.positions[m].min() >= 0
        assert placement.positions[m].max() <= 1
        assert moved[:, :2].abs().max() <= REACH * cell + 1e-12
        ratio = placement.positions[m][:, 2] / home[:, 2]
        assert ratio.min() >= 0.5 - 1e-12
        assert ratio.max() <= 2 + 1e-12
        if m == 0:
            assert (moved == 0).all()  # eq. 10
        travelled = max(travelled, moved.abs().max().item())
    assert travelled > 0.01  # the bounds were put to the test


def test_neighbours_never_change_places():
    module = plastic("xi")
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape).double() * 10
    placement = module(picture(), PyramidGraph(24, 20, 4))
    for m in range(1, 3):
        x, y, _ = placement.positions[m].unbind(1)
        assert (x.diff(dim=-1) > 0).all()
        assert (y.diff(dim=-2) > 0).all()


def test_centred_squash_is_the_sigmoid_moved_to_zero():
    x = torch.linspace(-5, 5, 21).double()
    plain, centred = plastic("xi"), plastic("xi", plasticity_squash="centred")
    torch.testing.assert_close(plain.xi.squash(x), torch.sigmoid(x))
    torch.testing.assert_close(centred.xi.squash(x), 2 * torch.sigmoid(2 * x) - 1)


@pytest.mark.parametrize("steps", [1, 3])
def test_moves_by_hand(steps):
    """Eq. 8 and 9 node by node: what ξ reads, and that its answers add up."""
    module = plastic("xi", plasticity_steps=steps)
    generator = torch.Generator().manual_seed(3)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).double()
    image, graph, m = picture(16, 16), PyramidGraph(16, 16, 4), 2
    integral, home = integral_image(image), home_positions(graph, m, image)
    u = torch.zeros(2, 3, 4, 4).double()
    moves, feature = u.clone(), F.avg_pool2d(image, 4)
    for _ in range(steps):
        change = torch.zeros_like(u)
        for b, y, x in np.ndindex(2, 4, 4):
            own = feature[b, :, y, x]
            beside = (y, max(x - 1, 0)), (y, min(x + 1, 3)), (max(y - 1, 0), x), (min(y + 1, 3), x)
            around = [feature[b, :, v, w] - own for v, w in beside]
            h = torch.cat([own, *around, moves[b, :, y, x], torch.tensor([m / 3]).double()])
            for k, layer in enumerate(module.xi.layers):
                h = layer.weight @ h + layer.bias
                h = torch.sigmoid(h) if k < 2 else h
            change[b, :, y, x] = h
        u = u + change
        bounded = 2 * torch.sigmoid(u) - 1
        moves = torch.cat([0.45 * bounded[:, :2], bounded[:, 2:]], 1)
        xy = home[:, :2] + moves[:, :2] * 4 / 16
        positions = torch.cat([xy, home[:, 2:] * 2 ** moves[:, 2:]], 1).clamp(0, 1)
        feature = project(integral, positions)[0]
    torch.testing.assert_close(module(image, graph).moves[m], moves, rtol=1e-6, atol=1e-8)


def test_every_level_has_a_table_of_its_own():
    module, graph = plastic("table"), PyramidGraph(24, 20, 4)
    values = torch.arange(4.0).double()[:, None, None, None]
    module.table.data = values.expand(4, 3, 16, 16).clone()
    placement = module(picture(), graph)
    for m in (1, 2, 3):
        bounded = 2 / (1 + math.exp(-m)) - 1
        expected = torch.tensor([0.45, 0.45, 1.0]).double() * bounded
        torch.testing.assert_close(placement.moves[m].mean((0, 2, 3)), expected)


@pytest.mark.parametrize("squash", ["sigmoid", "centred"])
def test_the_gradient_reaches_every_layer_of_xi(squash):
    """A smooth function of the projected features, differentiated both ways."""
    module = plastic("xi", plasticity_steps=2, plasticity_squash=squash)
    generator = torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).double() * 0.3
    image, graph = picture(13, 11), PyramidGraph(13, 11, 3)

    def objective():
        placement = module(image, graph)
        return sum((f**2).sum() for f in placement.features[1:]) + sum(
            (p**2).sum() for p in placement.positions[1:]
        )

    gradients = torch.autograd.grad(objective(), list(module.parameters()))
    step = 1e-6
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        index = int(gradient.abs().argmax())
        flat = parameter.data.view(-1)
        old = flat[index].item()
        flat[index] = old + step
        up = objective()
        flat[index] = old - step
        down = objective()
        flat[index] = old
        finite = (up - down).item() / (2 * step)
        assert gradient.abs().max() > 0
        assert finite == pytest.approx(gradient.view(-1)[index].item(), rel=1e-4)
