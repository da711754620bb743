"""Batch statistics: against torch's own layer, on every engine, fixed after training."""

import dataclasses

import pytest
import torch

from ngat.config import ModelConfig, preset
from ngat.model import NGAT, Norm

BATCH = ModelConfig(levels=3, channels=8, heads=2, depth=1, norm_groups=2, norm="batch")
SCHEDULES = [
    {},
    {"depth": 2, "residual": False},
    {"schedule": "synchronous"},
    {"schedule": "synchronous", "relations": "joint", "position": "linear"},
]


def network(**changes):
    torch.manual_seed(0)
    model = NGAT(dataclasses.replace(BATCH, **changes)).double()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def pictures(*size, batch=3, seed=1):
    return torch.rand(batch, 3, *size, dtype=torch.float64, generator=seeded(seed))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def gradients(model, images):
    logits = model(images).logits
    loss = sum((x * torch.linspace(-1, 1, x.numel()).view_as(x)).sum() for x in logits)
    return logits, torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)


def statistics(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}


def test_statistics_are_those_of_torchs_layer():
    """Normalised in training, recorded, and normalised after it, at two levels in turn."""
    norm = Norm(BATCH, levels=2).double()
    layers = [torch.nn.BatchNorm2d(8, affine=False, momentum=None).double() for _ in range(2)]
    for seed in range(4):
        for level, layer in enumerate(layers):
            h = (level + 2) * pictures(6, 5 + level, seed=seed).repeat(1, 3, 1, 1)[:, :8] - 1
            torch.testing.assert_close(norm(h, level), layer(h))
    norm.eval()
    for level, layer in enumerate(layers):
        torch.testing.assert_close(norm.running_mean[level], layer.running_mean)
        torch.testing.assert_close(norm.running_var[level], layer.running_var)
        h = pictures(4, 4, seed=9).repeat(1, 3, 1, 1)[:, :8]
        torch.testing.assert_close(norm(h, level), layer.eval()(h))


def test_running_statistics_settle_on_the_newest_fifty_steps():
    norm = Norm(BATCH).double()
    for n in range(400):
        norm(torch.full((1, 8, 2, 2), float(n >= 200), dtype=torch.float64))
    left = torch.full((8,), 1 - 0.98**200).double()
    torch.testing.assert_close(norm.running_mean.double().flatten(), left, rtol=0, atol=1e-4)
    assert norm.num_batches_tracked.tolist() == [400]


@pytest.mark.parametrize("change", SCHEDULES)
@pytest.mark.parametrize("size", [(13, 10), (4, 3)])
def test_the_fast_path_is_the_reference_in_training_and_after_it(change, size):
    """Logits, gradients, and what one step leaves in the running statistics."""
    pytest.importorskip("numba")
    images, found = pictures(*size), []
    for engine in ("cpu", "reference"):
        model = network(engine=engine, **change)
        trained = gradients(model, images)
        kept = statistics(model)
        found.append((trained, kept, gradients(model.eval(), pictures(*size, seed=2))))
        assert statistics(model).keys() == kept.keys()
        for name, value in statistics(model).items():
            assert torch.equal(value, kept[name])  # evaluation records nothing
        counts = [b for name, b in model.named_buffers() if "tracked" in name]
        depth = model.config.depth if model.config.schedule == "synchronous" else 1
        assert all((count == 1).all() for count in counts)
        assert sum(count.numel() for count in counts) >= model.config.levels * depth
    for one, other in ((found[0][0], found[1][0]), (found[0][2], found[1][2])):
        torch.testing.assert_close(one[0], other[0], rtol=1e-8, atol=1e-8)
        for a, b in zip(one[1], other[1], strict=True):
            if a is None or b is None:
                assert a is b
                continue
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8 * max(1.0, b.abs().max().item()))
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_gradients_of_batch_statistics_are_finite_differences(engine):
    if engine == "cpu":
        pytest.importorskip("numba")
    model, images = network(engine=engine, plasticity="fixed"), pictures(6, 5)
    _, found = gradients(model, images)
    parameters = list(model.parameters())
    directions = [torch.randn(p.shape, dtype=p.dtype, generator=seeded(3)) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(found, directions, strict=True) if g is not None)
    values = []
    for step in (1e-6, -2e-6):
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.data += step * direction
        logits = model(images).logits
        values.append(
            sum((x * torch.linspace(-1, 1, x.numel()).view_as(x)).sum().item() for x in logits)
        )
    torch.testing.assert_close((values[0] - values[1]) / 2e-6, slope.item(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_what_lies_far_away_decides_nothing_after_training(engine):
    """Beyond what messages reach, another picture leaves the logits as they are."""
    if engine == "cpu":
        pytest.importorskip("numba")
    near = []
    for norm in ("batch", "group"):
        model = network(engine=engine, norm=norm, levels=2)
        model(pictures(16, 16))
        model.eval()
        image = pictures(16, 96, batch=1)
        other = image.clone()
        other[..., 64:] = 1.0
        a, b = (model(x).logits[0][..., :32] for x in (image, other))
        near.append((a - b).abs().max().item())
    assert near[0] == 0
    assert near[1] > 1e-6


@pytest.mark.parametrize("engine", ["cpu", "reference"])
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_nan_is_not_normalised_away(engine, norm):
    """One NaN node: every node that shares its statistics is NaN, and so are the statistics."""
    if engine == "cpu":
        pytest.importorskip("numba")
    model = network(engine=engine, norm=norm)
    images = pictures(8, 8)
    images[1, 0, 3, 3] = float("nan")
    for logits in model(images).logits:
        assert logits[1].isnan().all()
        assert logits[0].isnan().all() == (norm == "batch")
    if norm == "batch":
        assert all(buffer.isnan().any() for buffer in statistics(model).values())


def test_the_companion_learns_from_one_node_per_level():
    """Where torch's layer refuses: one value is its own mean."""
    model = NGAT(dataclasses.replace(preset("companion").model, norm="batch")).train()
    assert all(torch.isfinite(x).all() for x in model(torch.rand(1, 3, 1, 1)).logits)
