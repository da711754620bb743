"""Training patches: reproducible, balanced, with the targets of the whole picture."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import rings, tiny

from ngat.config import TrainConfig
from ngat.data.sample import Sample
from ngat.errors import InputError
from ngat.instances import core_of
from ngat.training.patches import Patches, shares


def test_threads_and_processes_draw_the_same_patches() -> None:
    samples, config = rings(), tiny(batch=4).train
    alone = Patches(samples, config)
    batch = alone.batch(7)
    assert batch.image.shape == (4, 3, 16, 16)
    assert batch.targets.shape == (4, 2, 16, 16)
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


def test_augmented_targets_keep_core_inside_nucleus() -> None:
    batch = Patches(rings(), tiny(batch=16, patch=32).train).batch(0)
    nucleus, core = batch.targets.bool().unbind(1)
    assert core.any()
    assert not (core & ~nucleus).any()
    edge = ndimage.binary_erosion(nucleus[0].numpy()) != nucleus[0].numpy()
    assert core[0].numpy()[edge].mean() < 0.5  # cores lie inside


def test_a_picture_smaller_than_the_patch_is_mirrored() -> None:
    batch = Patches(rings(limit=1), tiny(patch=64, batch=1, augment=False).train).batch(0)
    assert batch.image.shape[-1] == 64
    assert torch.equal(batch.targets[0, 0, 1:], batch.targets[0, 0, 1:])


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
            torch.testing.assert_close(reduced[:, :, row, column], block.mean((2, 3)))
    assert half.targets.min() >= 0
    assert half.targets.max() <= 1
