"""Patches made on the device: what the CPU's pipeline makes, within interpolation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import rings

from ngat.config import TrainConfig
from ngat.data import Sample
from ngat.data.contrast import local_contrast
from ngat.data.synthetic import load_synthetic
from ngat.errors import InputError
from ngat.instances import core_of
from ngat.magnification import encode
from ngat.training import appearance as looks
from ngat.training import augment as cpu
from ngat.training.augment import AugmentConfig
from ngat.training.device import appearance as device
from ngat.training.device import prepared
from ngat.training.device.images import DeviceImages, Places, Ready, level_of
from ngat.training.device.patches import DevicePatches, Drawn, centre
from ngat.training.device.prepared import octave_of, octaves_for
from ngat.training.patches import Patches

SIZED = TrainConfig(batch=6, patch=48, sized=True, octaves=0.45, tail=0.15)


@pytest.fixture(scope="module")
def samples():
    return load_synthetic("train", seed=2, limit=5)


def one_view(stream, rng, index, angle, zoom, draws=1):
    """What the CPU makes of one geometry, and the device of the same."""
    sample, size = stream.host.samples[index], stream.host.augmentation.size
    ranges = stream.host.ranges(index, zoom) if stream.host.contrast != "plain" else None
    again = np.random.default_rng()
    again.bit_generator.state = rng.bit_generator.state
    marked = stream.host.marked(index)
    view, truth = cpu._free_view(stream.host.seen(index), marked, rng, size, angle, zoom, ranges)
    c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
    middle = centre(again, sample.labels.shape, size, angle, zoom)
    drawn = Drawn(
        np.array([index]),
        np.array([zoom]),
        np.array([[[[c, -s], [s, c]]]]),
        np.array([[middle]]),
        np.zeros((1, 2), dtype=bool),
        np.zeros(1, dtype=np.int64),
    )
    places, found = stream.placed(drawn)
    return view.transpose(2, 0, 1), truth, stream.seen(drawn, places)[0].numpy(), found[0].numpy()


@pytest.mark.parametrize("kind", ["plain", "local", "positive"])
@pytest.mark.parametrize(
    ("angle", "zoom"),
    [(0.0, 1.0), (0.3, 1.0), (-0.7, 2.3), (0.2, 0.9), (0.5, 0.6), (0.0, 0.31), (0.1, 0.17)],
)
def test_a_view_is_that_of_the_cpu(samples, kind, angle, zoom):
    if kind == "positive":
        samples = [replace(one, image=255 - one.image) for one in samples]
    stream = DevicePatches(samples, SIZED, contrast=kind)
    rng = np.random.default_rng(7)
    for index in range(len(samples)):
        if octave_of(zoom) < min(octaves_for(stream.host, stream.medians[index]), default=-99):
            continue  # nuclei are never seen so small
        view, truth, picture, marked = one_view(stream, rng, index, angle, zoom)
        # A Gaussian filter in two steps, on a coarser grid, is not quite the same as in one.
        difference = np.abs(picture - view)
        assert np.mean(difference) < (0.004 if zoom >= 0.5 else 0.012)
        assert np.quantile(difference, 0.99) < (0.02 if zoom >= 0.5 else 0.08)
        assert np.mean(marked != truth) < (0.004 if angle or zoom != 1 else 1e-9)


def test_flips_and_turns_are_those_of_an_array(samples):
    stream = DevicePatches(samples, SIZED)
    plain = Drawn(
        np.array([1]),
        np.ones(1),
        np.eye(2)[None, None],
        np.array([[[40.0, 50.0]]]) + 0.5,
        np.zeros((1, 2), dtype=bool),
        np.zeros(1, dtype=np.int64),
    )
    places, marked = stream.placed(plain)
    view = marked[0].numpy()
    for flips in [(False, False), (True, False), (False, True), (True, True)]:
        for turn in range(4):
            drawn = plain._replace(flips=np.array([flips]), turns=np.array([turn]))
            expected = view[::-1] if flips[0] else view
            expected = expected[:, ::-1] if flips[1] else expected
            _, found = stream.placed(drawn)
            np.testing.assert_array_equal(found[0].numpy(), np.rot90(expected, turn))


def test_targets_are_those_of_the_cpu(samples):
    stream = DevicePatches(samples, SIZED)
    drawn = stream.drawn(np.random.default_rng(3))
    places, marked = stream.placed(drawn)
    targets = stream.targets(places, marked).numpy()
    assert targets.shape == (6, 4, 48, 48)
    for n, index in enumerate(drawn.which):
        sizes = stream.host.sizes(index)
        own = marked[n].numpy()
        np.testing.assert_array_equal(targets[n, 0], own > 1)
        np.testing.assert_array_equal(targets[n, 1], own % 2)
        size = encode(sizes[own // 2] * drawn.zoom[n]) * (own > 1)
        np.testing.assert_allclose(targets[n, 2], size, atol=2e-6)
        numbers = targets[n, 3].astype(int)
        np.testing.assert_array_equal(numbers > 0, own > 1)
        of_one = {(a, b) for a, b in zip(numbers.ravel(), own.ravel() // 2, strict=True) if b}
        assert len({a for a, _ in of_one}) == len(of_one)  # no number for two nuclei


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_a_mirrored_copy_is_a_nucleus_of_its_own(turn):
    """Numbers are those of connected components, where nuclei do not touch one another."""
    labels = np.zeros((24, 31), dtype=np.int32)
    for number, (row, column) in enumerate([(4, 0), (12, 9), (23, 20), (0, 24), (13, 30)], 1):
        rows, columns = np.ogrid[:24, :31]
        labels[(rows - row) ** 2 + (columns - column) ** 2 < 10] = number
    image = Ready(np.zeros((24, 31, 3), np.uint8), 2 * labels, np.full(6, 5.0), {})
    images = DeviceImages([image], torch.device("cpu"))
    line = torch.arange(-70.0, 100.0)
    y, x = torch.meshgrid(line, line, indexing="ij")
    c, s = math.cos(turn), math.sin(turn)
    places = Places(
        torch.zeros(1, dtype=torch.int64),
        torch.ones(1),
        (c * y + s * x)[None],
        (c * x - s * y)[None],
    )
    marked = images.marked(places)
    numbers = images.numbers(places, marked)[0].numpy()
    components, count = ndimage.label(marked[0].numpy() > 1, np.ones((3, 3)))
    pairs = set(zip(numbers.ravel(), components.ravel(), strict=True)) - {(0, 0)}
    assert count > 40
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == count


def test_patches_hold_a_nucleus_where_they_are_asked_to():
    labels = np.zeros((400, 400), np.int32)
    labels[350:360, 20:30] = 1
    image = np.where(labels[..., None] > 0, 200, 30).repeat(3, 2).astype(np.uint8)
    lonely = Sample("lonely", image, labels, "small_fluorescent", "lonely", "train")
    shares = []
    for nuclei in (0.0, 1.0):
        config = TrainConfig(patch=32, batch=60, augment=False, nuclei=nuclei)
        targets = DevicePatches([lonely], config).batch(0).targets
        shares.append((targets[:, 0].amax((1, 2)) > 0).float().mean().item())
    assert shares[0] < 0.2
    assert shares[1] == 1.0


def test_a_core_lies_inside_its_nucleus(samples):
    stream = DevicePatches(samples, SIZED)
    labels = samples[0].labels
    np.testing.assert_array_equal(stream.host.marked(0) % 2 == 1, core_of(labels))
    batch = stream.batch(0)
    assert bool((batch.targets[:, 1] <= batch.targets[:, 0]).all())


def test_sizes_and_types_are_drawn_as_on_the_cpu(samples):
    """Same distribution: magnifications and images of many draws."""
    config = TrainConfig(batch=400, patch=16, sized=True, balance=0.5)
    stream, host = DevicePatches(samples, config), Patches(samples, config)
    drawn = stream.drawn(np.random.default_rng(0))
    counts = np.bincount(drawn.which, minlength=len(samples)) / 400
    np.testing.assert_allclose(counts, host.shares, atol=0.1)
    wanted = np.log2(drawn.zoom * np.array(stream.medians)[drawn.which])
    rng = np.random.default_rng(1)
    expected = np.log2([host.zoom(rng, stream.medians[i]) * stream.medians[i] for i in drawn.which])
    quantiles = [0.1, 0.25, 0.5, 0.75, 0.9]
    np.testing.assert_allclose(
        np.quantile(wanted, quantiles), np.quantile(expected, quantiles), atol=0.25
    )


def test_a_batch_depends_on_seed_and_step_alone(samples):
    one, other = (DevicePatches(samples, SIZED, contrast="local") for _ in range(2))
    for a, b in zip(one.batches(3, 5), [other.batch(3), other.batch(4)], strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.targets, b.targets)
    assert not torch.equal(one.batch(3).image, one.batch(5).image)
    assert one.batch(3).image.shape == (6, 3, 48, 48)
    assert 0 <= float(one.batch(3).image.min()) <= float(one.batch(3).image.max()) <= 1


def test_contrast_that_a_file_keeps_gives_the_same_patches(samples, tmp_path, monkeypatch):
    kept = tmp_path / "contrast.safetensors"
    one = DevicePatches(samples, SIZED, contrast="local", kept=kept)
    monkeypatch.setattr(prepared, "found", lambda _: pytest.fail("it is found again"))
    other = DevicePatches(samples, SIZED, contrast="local", kept=kept)
    assert torch.equal(one.batch(3).image, other.batch(3).image)
    assert torch.equal(one.batch(3).targets, other.batch(3).targets)
    for fewer, config in [(samples[:-1], SIZED), (samples, replace(SIZED, octaves=0.9))]:
        with pytest.raises(InputError, match=r"contrast\.safetensors: is of other images"):
            DevicePatches(fewer, config, contrast="local", kept=kept)
    kept.write_bytes(kept.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"contrast\.safetensors: holds no contrast"):
        DevicePatches(samples, SIZED, contrast="local", kept=kept)


def test_contrast_that_many_processes_find_is_the_same(monkeypatch):
    patches = Patches(rings(), SIZED, contrast="local")
    alone = prepared.found(patches)
    monkeypatch.setattr(prepared, "MANY", 1)
    monkeypatch.setattr(prepared.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(prepared, "_ranges", lambda patches, i: {i: patches.ranges(i, 1.0)})
    shared = prepared.found(patches)
    assert [list(ranges) for ranges in shared] == [[i] for i in range(len(alone))]
    for i, ranges in enumerate(alone):
        np.testing.assert_array_equal(shared[i][i].low, ranges[0].low)


def test_images_of_any_size_and_unsized_patches_are_served():
    config = TrainConfig(batch=8, patch=24, augment=True)
    stream = DevicePatches([*rings(), *load_synthetic("train", seed=0, limit=1)], config)
    batch = stream.batch(0)
    assert bool(torch.isfinite(batch.image).all())
    plain = DevicePatches(rings(), TrainConfig(batch=4, patch=24, augment=False)).batch(1)
    pixels = torch.unique(torch.round(plain.image * 255) - plain.image * 255)
    assert float(pixels.abs().max()) < 1e-3  # uninterpolated: whole grey levels


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (5, 5)])
def test_tiny_images_are_mirrored(size):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    marked = np.zeros(size, dtype=np.int32)
    ranges = {0: local_contrast(pixels)}
    images = DeviceImages(
        [Ready(pixels, marked, np.array([20.0, 20.0]), ranges)], torch.device("cpu")
    )
    line = torch.arange(-9.0, 9.0)
    places = Places(
        torch.zeros(1, dtype=torch.int64),
        torch.ones(1),
        line[:, None].expand(18, 18)[None],
        line.expand(18, 18)[None],
    )
    rows, columns = (cpu._mirrored(-9, 18, n) for n in size)
    expected = pixels[rows[:, None], columns].transpose(2, 0, 1)
    np.testing.assert_allclose(images.pictures(places, np.ones(1))[0].numpy(), expected, atol=1e-3)
    found = images.contrasted(
        images.pictures(places, np.ones(1)), places, torch.zeros(1, dtype=torch.int64)
    )
    wanted = ranges[0].apply(pixels[rows[:, None], columns], rows, columns).transpose(2, 0, 1)
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=2e-3)


def test_levels_and_octaves():
    assert [level_of(z) for z in (4.0, 1.0, 0.99, 0.5, 0.49, 0.25, 0.1)] == [0, 0, 0, 1, 1, 2, 3]
    assert [octave_of(z) for z in (1.0, 2.0, 0.25)] == [0, 2, -4]


@pytest.fixture
def view():
    return np.random.default_rng(5).random((40, 40, 3), dtype=np.float32)


def tensor(view):
    return torch.from_numpy(view.transpose(2, 0, 1)[None].copy())


class Scripted:
    """A source of chance that gives the numbers it was told."""

    def __init__(self, *values):
        self.values = list(values)

    def uniform(self, low, high, size=None):
        return self.values.pop(0)


@pytest.mark.parametrize(
    ("gain", "offset", "gamma"), [(0.7, -0.6, 0.5), (-0.9, 0.8, -1.0), (1, 0, 0)]
)
def test_intensity_is_that_of_the_cpu(view, gain, offset, gamma):
    config = AugmentConfig()
    dim = view * np.float32(0.4)
    expected = looks._intensity(dim, Scripted(gain, 0.1 * offset, gamma), config)
    numbers = (config.gain**gain, 0.1 * offset, config.gamma**gamma)
    found = device.intensity(tensor(dim), *(torch.tensor([float(n)]) for n in numbers))
    np.testing.assert_allclose(found[0].numpy(), expected.transpose(2, 0, 1), atol=2e-5)


def test_stain_is_that_of_the_cpu(view):
    config = AugmentConfig()
    dyes = np.array([0.2, -0.1, 0.05])
    hue = np.random.default_rng(1).uniform(0, 0.1, (3, 3))
    expected = looks._stain(view, Scripted(dyes, hue.copy()), config)

    class Told:
        generator = torch.Generator()

        def __init__(self):
            self.values = [torch.tensor(dyes).float()[None], torch.tensor(hue).float()[None]]

        def uniform(self, *_):
            return self.values.pop(0)

    found = device.stain(tensor(view), *device.mixtures(Told(), config))
    np.testing.assert_allclose(found[0].numpy(), expected.transpose(2, 0, 1), atol=2e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.0, 11.0])
@pytest.mark.parametrize("truncate", [3.0, 4.0])
def test_blur_is_that_of_the_cpu(view, sigma, truncate):
    expected = looks.ndimage.gaussian_filter(view, (sigma, sigma, 0.0), truncate=truncate)
    found = device.blurred(tensor(view), torch.tensor([sigma]), truncate)
    np.testing.assert_allclose(found[0].numpy(), expected.transpose(2, 0, 1), atol=5e-5)


def test_a_coarse_picture_is_that_of_the_cpu(view):
    """One of all numbers of pixels that the CPU may draw, and as often few as many."""
    side = len(view)
    certain = cpu.replace(AugmentConfig.none(side), coarse=1.0)
    counts = np.zeros(side + 1, dtype=int)
    drawn = range(round(side / certain.reduction), side + 1)
    possible = np.stack(
        [
            np.einsum("yi,ijc,xj->yxc", axis, view, axis).clip(0, 1)
            for axis in (looks.coarse(side, fewer) for fewer in drawn)
        ]
    )
    many = tensor(view).expand(200, -1, -1, -1)
    found = device.appearance(many, torch.Generator().manual_seed(1), certain)
    for one in found.permute(0, 2, 3, 1).numpy():
        difference = np.abs(possible - one).max((1, 2, 3))
        assert difference.min() < 1e-5
        counts[drawn[int(difference.argmin())]] += 1
    middle = round(side / math.sqrt(certain.reduction))
    assert abs(counts[:middle].sum() - 100) < 30


def test_every_operation_happens_as_often_as_it_should():
    """Each alone and certain changes every picture that it is meant for, and no other."""
    rng = np.random.default_rng(2)
    colour = torch.from_numpy(rng.random((1, 3, 32, 32), dtype=np.float32)) * 0.5 + 0.2
    grey = colour[:, :1].expand_as(colour)
    both = torch.cat([colour, grey])
    plain = AugmentConfig.none(32)
    for name, changes in {
        "grey": (True, False),
        "stain": (True, False),
        "merge": (False, True),
        "intensity": (True, True),
        "invert": (True, True),
        "coarse": (True, True),
        "blur": (True, True),
        "noise": (True, True),
        "photons": (True, True),
    }.items():
        certain = cpu.replace(plain, **{name: 1.0})
        many = [
            device.appearance(both, torch.Generator().manual_seed(n), certain) for n in range(5)
        ]
        found = many[0]
        for n, change in enumerate(changes):  # a blur of less than a fifth of a pixel is none
            assert any(not torch.equal(one[n], both[n]) for one in many) == change, name
        if name in ("intensity", "invert", "coarse", "blur", "noise", "photons"):  # grey stays grey
            assert float((found[1].amax(0) - found[1].amin(0)).max()) < 1e-6
    assert torch.equal(device.appearance(both, torch.Generator(), plain), both)


def test_grey_pictures_stay_on_dark_ground():
    """As on the CPU: only what has colour is inverted, and what loses its colour always is."""
    rng = np.random.default_rng(2)
    colour = rng.random((32, 32, 3), dtype=np.float32)
    grey = np.repeat(colour[:, :, :1], 3, axis=2)
    both = torch.cat([tensor(colour), tensor(grey)])
    lost = np.repeat(colour.mean(axis=2, keepdims=True), 3, axis=2)
    for changes, expected in (
        ({"invert": 1.0}, (1 - colour, grey)),
        ({"grey": 1.0}, (1 - lost, grey)),
        ({"grey": 1.0, "invert": 1.0}, (1 - lost, grey)),
    ):
        certain = replace(AugmentConfig.none(32), positive=True, **changes)
        found = device.appearance(both, torch.Generator(), certain)
        for one, picture, wanted in zip(found, (colour, grey), expected, strict=True):
            on_cpu = looks.appearance(picture, np.random.default_rng(0), certain)
            np.testing.assert_allclose(on_cpu, wanted, atol=1e-6)
            np.testing.assert_allclose(one.numpy(), on_cpu.transpose(2, 0, 1), atol=1e-6)
    merged = replace(AugmentConfig.none(32), positive=True, merge=1.0, invert=1.0)
    found = device.appearance(both, torch.Generator().manual_seed(0), merged)[1]
    np.testing.assert_allclose(
        (found - (1 - both[1])).abs().amax((1, 2)).min(), 0, atol=1e-6
    )  # one channel is the picture, inverted


def test_photon_noise_is_that_of_the_cpu(view):
    """Mean and standard deviation at every pixel, over many draws; stretched back alike."""
    draws, counts = 400, 9.0
    for picture in (view, np.repeat(view[:, :, :1], 3, axis=2)):
        many = tensor(picture).expand(draws, -1, -1, -1)
        generator = torch.Generator().manual_seed(0)
        found = device.counted(many, torch.full((draws,), counts), generator).numpy()
        rng = np.random.default_rng(0)
        expected = np.stack([looks._counted(picture, counts, rng) for _ in range(draws)])
        expected = expected.transpose(0, 3, 1, 2)
        for statistic, tolerance in ((np.mean, 0.02), (np.std, 0.03)):
            difference = statistic(found, axis=0) - statistic(expected, axis=0)
            assert abs(difference.mean()) < tolerance / 5
            assert np.sqrt(np.mean(difference**2)) < tolerance
        spread = np.ptp(found, axis=1).max()
        assert (spread < 1e-6) == (np.ptp(picture, axis=2).max() == 0)


def test_noise_has_the_strength_that_the_cpu_gives(view):
    certain = cpu.replace(AugmentConfig.none(40), noise=1.0)
    flat = 0.3 + 0.4 * np.repeat(view[:, :, :1], 3, axis=2)
    rng = np.random.default_rng(0)
    many = tensor(flat).expand(200, -1, -1, -1)
    found = device.appearance(many, torch.Generator().manual_seed(0), certain) - many
    expected = [looks.appearance(flat, rng, certain) - flat for _ in range(200)]
    of_device, of_cpu = found.std((1, 2, 3)).mean(), np.mean([e.std() for e in expected])
    assert abs(float(of_device) / of_cpu - 1) < 0.1


def test_margins_on_the_device_are_bands() -> None:
    """As on the host: from one side, up to half of the patch, black or white, empty targets."""
    patches = DevicePatches(rings(limit=2), replace(SIZED, patch=40, batch=64))
    patches.host.augmentation = replace(patches.host.augmentation, margin=1.0)
    bare, value = patches.margins(64, torch.Generator().manual_seed(0))
    shares = bare.float().mean((1, 2, 3))
    assert 0 < shares.min() < shares.max() <= 21 / 40
    full = [bare[:, 0, 0].all(1), bare[:, 0, -1].all(1), bare[:, 0, :, 0].all(1)]
    assert len({tuple(side.tolist()) for side in torch.stack(full, 1)}) == 4
    assert set(value.flatten().tolist()) == {0.0, 1.0}
    batch = patches.batch(0)
    bands = [(image[:, :1] == image[:, :1, :1]).all() for image in batch.image]
    assert any(bands)
    nothing = (batch.targets == 0).all(1).flatten(1)
    assert (nothing.any(1)).all()
