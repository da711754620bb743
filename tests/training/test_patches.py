"""Training patches: reproducible, balanced, with the targets of the whole picture."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import rings, tiny

from ngat.config import TrainConfig
from ngat.data import Sample
from ngat.data.contrast import local_contrast
from ngat.data.normalize import as_tensor
from ngat.errors import InputError
from ngat.instances import core_of
from ngat.magnification import OCTAVES, SIZE, decode, encode, size_of
from ngat.training import patches as module
from ngat.training.patches import Batch, Patches, shares


def test_threads_and_processes_draw_the_same_patches() -> None:
    samples, config = rings(), tiny(batch=4).train
    alone = Patches(samples, config)
    batch = alone.batch(7)
    assert batch.image.shape == (4, 3, 16, 16)
    assert batch.targets.shape == (4, 4, 16, 16)
    ahead = list(Patches(samples, config, workers=3).batches(6, 9))
    assert torch.equal(ahead[1].image, batch.image)
    assert torch.equal(ahead[1].targets, batch.targets)
    for rank in (0, 1):
        share = Patches(samples, config, rank=rank, world=2).batch(7)
        assert torch.equal(share.image, batch.image[rank::2])


def test_steps_seeds_and_places_differ() -> None:
    samples, config = rings(), tiny(batch=4).train
    patches = Patches(samples, config)
    images = [*patches.batch(0).image, *patches.batch(1).image]
    other = Patches(samples, dataclasses.replace(config, seed=1)).batch(0).image
    images += list(other)
    for i, a in enumerate(images):
        assert not any(torch.equal(a, b) for b in images[:i])


def test_targets_are_nuclei_and_their_cores_in_the_whole_picture() -> None:
    """Without augmentation a patch is a window: find it, and compare with the window's truth."""
    sample = rings(limit=1)[0]
    config = tiny(augment=False, patch=24, batch=8).train
    core = core_of(sample.labels)
    for image, targets in zip(*Patches([sample], config).batch(0), strict=True):
        patch = np.rint(image.numpy() * 255).astype(np.uint8).transpose(1, 2, 0)
        windows = np.lib.stride_tricks.sliding_window_view(sample.image, (24, 24), (0, 1))
        there = np.argwhere((windows == patch.transpose(2, 0, 1)).all((2, 3, 4)))
        ((top, left),) = there
        window = (slice(top, top + 24), slice(left, left + 24))
        assert np.array_equal(targets[0].numpy(), sample.labels[window] > 0)
        assert np.array_equal(targets[1].numpy(), core[window])
        assert np.array_equal(targets[3].numpy(), sample.labels[window])


def test_augmented_targets_keep_core_inside_nucleus() -> None:
    batch = Patches(rings(), tiny(batch=16, patch=32).train).batch(0)
    nucleus, core, size, _ = batch.targets.bool().unbind(1)
    assert core.any()
    assert not (core & ~nucleus).any()
    edge = ndimage.binary_erosion(nucleus[0].numpy()) != nucleus[0].numpy()
    assert core[0].numpy()[edge].mean() < 0.5  # cores lie inside


def test_a_picture_smaller_than_the_patch_is_mirrored() -> None:
    (sample,) = rings(limit=1)  # of 40 x 40 pixels
    batch = Patches([sample], tiny(patch=64, batch=3, augment=False).train).batch(0)
    image = np.pad(sample.image, ((24, 24), (24, 24), (0, 0)), mode="reflect")
    labels = np.pad(sample.labels, 24, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(image, (64, 64), (0, 1))
    for patch, targets in zip(*batch, strict=True):
        pixels = np.rint(patch.numpy() * 255).astype(np.uint8)
        ((top, left),) = np.argwhere((windows == pixels).all((2, 3, 4)))
        np.testing.assert_array_equal(targets[3], labels[top : top + 64, left : left + 64])


def test_shares_follow_the_balance() -> None:
    types = ["a"] * 9 + ["b"]
    assert shares(types, 0.0) == pytest.approx([0.1] * 10)
    assert shares(types, 1.0) == pytest.approx([0.5 / 9] * 9 + [0.5])
    # √9 : √1 = 3 : 1
    assert shares(types, 0.5) == pytest.approx([0.75 / 9] * 9 + [0.25])


def test_drawing_follows_the_shares() -> None:
    def flat(kind: str, grey: int) -> Sample:
        image = np.full((8, 8, 3), grey, np.uint8)
        return Sample(kind, image, np.zeros((8, 8), np.int32), kind, kind, "train")

    samples = [flat("a", 10)] * 3 + [flat("b", 200)]
    config = TrainConfig(batch=400, patch=4, balance=1.0, augment=False)
    bright = (Patches(samples, config).batch(0).image.mean((1, 2, 3)) > 0.5).float().mean()
    assert 0.42 < float(bright) < 0.58  # three standard deviations round a half


def test_batches_that_cannot_be_shared_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be shared by 3 processes"):
        Patches(rings(), tiny(batch=4).train, world=3)
    with pytest.raises(InputError, match="no training picture"):
        Patches([], tiny().train)


def test_a_halved_batch_is_the_mean_of_four_pixels() -> None:
    batch = Patches(rings(), tiny(batch=3, patch=15).train).batch(0)
    half = batch.halved()
    for whole, reduced in zip(batch, half, strict=True):
        assert reduced.shape[2:] == (8, 8)
        for row, column in ((0, 0), (3, 5), (7, 7)):
            block = whole[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            mean = block[:, :3].mean((2, 3))
            if whole.shape[1] == 4:  # of targets the third is a size in pixels
                mean[:, 2] = (mean[:, 2] - mean[:, 0] / OCTAVES).clamp(min=0)
            torch.testing.assert_close(reduced[:, :3, row, column], mean)
    assert half.targets[:, :3].min() >= 0
    assert half.targets[:, :3].max() <= 1
    # The number of a nucleus has no mean.
    assert torch.equal(half.targets[:, 3], batch.targets[:, 3, ::2, ::2])


def test_nuclei_of_a_halved_batch_have_half_the_size() -> None:
    targets = torch.zeros(1, 4, 16, 16)
    targets[:, 0] = 1
    for size in (6.0, 40.0):
        targets[:, 2] = float(encode(np.array(size)))
        half = Batch(torch.zeros(1, 3, 16, 16), targets).halved()
        np.testing.assert_allclose(decode(half.targets[0, 2].numpy()), size / 2, rtol=1e-5)


def test_patches_hold_a_nucleus_where_they_are_asked_to() -> None:
    """One small nucleus in a wide empty image: few patches anywhere show it."""
    labels = np.zeros((400, 400), np.int32)
    labels[350:360, 20:30] = 1
    image = np.full((400, 400, 3), 30, np.uint8)
    image[labels > 0] = 200
    lonely = Sample("lonely", image, labels, "small_fluorescent", "lonely", "train")
    middle = Patches([lonely], TrainConfig()).place(np.random.default_rng(0), 0)
    assert middle == (354.5, 24.5)
    shares = []
    for nuclei in (0.0, 1.0):
        config = TrainConfig(patch=32, batch=60, augment=False, nuclei=nuclei)
        targets = Patches([lonely], config).batch(0).targets
        shares.append((targets[:, 0].amax((1, 2)) > 0).float().mean().item())
    assert shares[0] < 0.2
    assert shares[1] == 1.0


# ------------------------------------------------------------------ patches of one size


def discs(size: float, count: int = 6, seed: int = 0) -> Sample:
    """Bright discs whose √area is ``size``, on a dark noisy ground."""
    rng = np.random.default_rng(seed)
    side = int(8 * size)
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.int32)
    for i in range(count):
        row, column = (i // 3 + 0.5) * side / 2, (i % 3 + 0.5) * side / 3
        labels[np.hypot(y - row, x - column) < size / np.sqrt(np.pi)] = i + 1
    grey = 20 + 3 * rng.standard_normal(labels.shape) + 100 * (labels > 0)
    image = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    return Sample(f"discs-{size}", image, labels, "small_fluorescent", "g", "train")


def sized(**overrides: object) -> TrainConfig:
    config = tiny(patch=96, batch=6, **overrides).train
    return dataclasses.replace(config, sized=True)


@pytest.mark.parametrize("size", [8.0, 20.0, 60.0])
def test_nuclei_of_any_size_are_seen_at_one(size: float) -> None:
    """Measured on the patches themselves: whole discs have the area that was asked for."""
    config = dataclasses.replace(sized(augment=False), octaves=0.0, tail=0.0)
    targets = Patches([discs(size)], config, contrast="local").batch(0).targets
    found = []
    for nucleus, _, code, _ in targets:
        labels, count = ndimage.label(nucleus.numpy())
        inside = np.setdiff1d(labels[1:-1, 1:-1], np.concatenate(
            [labels[0], labels[-1], labels[:, 0], labels[:, -1]]))  # fmt: skip
        found += [np.sqrt((labels == i).sum()) for i in inside if i]
        np.testing.assert_allclose(code[nucleus > 0], 0.5, atol=0.02)
        assert (code[nucleus == 0] == 0).all()
        assert count
    assert np.median(found) == pytest.approx(SIZE, rel=0.08)


def test_the_tail_reaches_further_than_the_usual_sizes() -> None:
    config = sized()
    patches = Patches([discs(20.0)], config, contrast="local")
    rng = np.random.default_rng(0)
    octaves = np.log2([patches.zoom(rng, 20.0) for _ in range(4000)])
    assert np.percentile(octaves, [2, 98]) == pytest.approx([-1.4, 1.7], abs=0.4)
    far = np.mean(np.abs(octaves) > 2 * config.octaves)
    # Of the tail's 5.3 octaves 3.5 lie beyond; of a normal distribution one in twenty.
    assert far == pytest.approx(config.tail * 3.5 / 5.3 + (1 - config.tail) * 0.0455, abs=0.03)


@pytest.mark.parametrize("kind", ["local", "positive"])
@pytest.mark.parametrize("negative", [False, True])
def test_training_and_inference_see_the_same_surroundings(kind: str, negative: bool) -> None:
    """Without augmentation, a patch is a piece of what inference makes of the whole image."""
    sample = discs(20.0)
    if negative:
        sample = dataclasses.replace(sample, image=255 - sample.image)
    config = dataclasses.replace(sized(augment=False), octaves=0.0, tail=0.0, batch=1)
    (patch,) = Patches([sample], config, contrast=kind).batch(0).image
    (whole,) = as_tensor(sample.image, kind, SIZE / size_of(sample.labels))
    assert (float(whole.median()) > 0.5) == (negative and kind == "local")
    windows = whole[0].unfold(0, 96, 1).unfold(1, 96, 1)
    nearest = (windows - patch[0]).abs().mean((2, 3)).min()
    assert nearest < 0.01


def test_an_empty_patch_is_drawn_once_more() -> None:
    """A nucleus that a quarter of all places show: of two draws, seven sixteenths."""
    labels = np.zeros((71, 71), np.int32)
    labels[:20, :20] = 1  # seen from 20 of 40 rows and columns
    sample = Sample("corner", np.zeros((71, 71, 3), np.uint8), labels, "t", "g", "train")
    config = dataclasses.replace(sized(augment=False), octaves=0.0, tail=0.0, nuclei=0.0)
    config = dataclasses.replace(config, patch=32, batch=400)
    targets = Patches([sample], config).batch(0).targets
    found = (targets[:, 0].amax((1, 2)) > 0).float().mean()
    assert float(found) == pytest.approx(7 / 16, abs=0.08)


def test_contrast_is_that_of_a_tile_as_large_as_the_network_sees_it() -> None:
    """To the nearest half octave; and a blank page stays as it is."""
    image = np.full((200, 500, 3), 255, np.uint8)
    image[:, :200] = np.random.default_rng(0).integers(0, 60, (200, 200, 1))
    sample = Sample("page", image, np.zeros((200, 500), np.int32), "t", "g", "train")
    patches = Patches([sample], sized(), contrast="local")
    for zoom, tile in ((1.0, 96), (1.15, 96), (1.3, 96 / np.sqrt(2)), (0.5, 192), (2.1, 48)):
        found, expected = patches.ranges(0, zoom), local_contrast(image, tile)
        np.testing.assert_array_equal(found.low, expected.low)
        np.testing.assert_array_equal(found.high, expected.high)
        assert found.blank is None
    assert local_contrast(image, 96).blank is not None


def test_numbers_that_no_nucleus_has_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nuclei of 8 pixels with gaps in their numbers are magnified to 20, and told to be so."""
    labels = np.zeros((40, 40), np.int32)
    labels[4:12, 4:12], labels[20:28, 20:28] = 3, 9
    sample = Sample("gaps", np.zeros((40, 40, 3), np.uint8), labels, "t", "g", "train")
    config = dataclasses.replace(sized(), octaves=0.0, tail=0.0, batch=1)
    told: list[dict] = []

    def seen(*arguments: object, **options: object) -> tuple[np.ndarray, np.ndarray]:
        told.append(options)
        return augment(*arguments, **options)

    augment = module.augment
    monkeypatch.setattr(module, "augment", seen)
    Patches([sample], config).batch(0)
    assert told[0]["zoom"] == pytest.approx(2.5)
    assert told[0]["nucleus"] == pytest.approx(SIZE)
