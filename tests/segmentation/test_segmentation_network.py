"""The trained network behind ``ngat segment``: its parts say what the whole says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from local_network import clumps
from tiny import tiny

from ngat.errors import InputError
from ngat.inference import instances, predict
from ngat.io.picture import array_picture
from ngat.magnification import Seen
from ngat.model import NGAT
from ngat.segmentation.find import find_nuclei
from ngat.segmentation.job import PictureJob, predict_tile
from ngat.segmentation.network import TrainedNetwork, trained
from ngat.segmentation.tiles import grid
from ngat.thresholds import Thresholds, thresholds_to_dict
from ngat.training.validation import COARSE, around
from ngat.training.weights import save_weights


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Untrained, with fixed statistics, local contrast and a size output, as the shipped one."""
    torch.manual_seed(3)
    chosen = tiny(levels=3, norm="batch", contrast="local", outputs=3)
    model = NGAT(chosen.model)
    with torch.no_grad():  # its answers shall differ from place to place
        for tensor in model.parameters():
            if tensor.dim() > 1:
                tensor.mul_(1.3)
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    thresholds = dict.fromkeys(("split", "components"), Thresholds())
    save_weights(path, model, chosen, {"thresholds": thresholds_to_dict(thresholds)})
    return TrainedNetwork(path)


def test_whatever_the_search_may_choose_is_accepted_and_nothing_absurd():
    for name, values in COARSE.items():
        for value in (near for one in values for near in around(name, one)):
            assert getattr(replace(Thresholds(), **{name: value}), name) == value
    for name, value in (("smoothing", 1e9), ("smoothing", -1.0), ("core", 1.5)):
        with pytest.raises(InputError, match=f"The threshold {name} is {value}, which cannot be"):
            replace(Thresholds(), **{name: value})


@pytest.mark.parametrize(("page", "negative"), [(0, False), (230, False), (0, True)])
@pytest.mark.parametrize("magnification", [1.0, 0.5, 2.0])
def test_tiles_say_what_the_whole_says(network, magnification, page, negative):
    pixels = clumps((192, 256))
    if negative:  # on bright ground, which is seen both ways
        pixels = np.iinfo(pixels.dtype).max - pixels
    pixels = np.pad(pixels, [(0, 0), (0, page)], constant_values=np.iinfo(pixels.dtype).max)
    picture = array_picture(pixels)
    whole = predict(network.model, picture.read(), magnification=magnification)
    assert np.ptp(whole.probability) > 0.02
    cut = grid(picture.shape, magnification, network.halo, tile=64)
    assert len(cut) > 1
    job = PictureJob(picture, network, cut, "split", Thresholds())
    assert ("blank" in job.survey) == bool(page)
    assert job.survey["bright"] == negative
    for number in range(len(cut)):
        predict_tile(job, number)
    for plane, expected in ((job.probability, whole.probability), (job.core, whole.core)):
        found = plane.read((slice(0, 192), slice(0, 256 + page)))
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.timeout(600)  # the first run compiles
@pytest.mark.parametrize(("shape", "magnification"), [((307, 229), 1.0), ((330, 405), 0.73)])
def test_tiles_of_the_shipped_network_round_as_the_whole(shape, magnification):
    """Not only nearly: a pixel at the threshold must fall on the same side, whatever the tiles."""
    pytest.importorskip("numba")
    network = TrainedNetwork()
    picture = array_picture(clumps(shape))
    maps = []
    for tile in (4096, 96):
        cut = grid(picture.shape, magnification, network.halo, tile)
        job = PictureJob(picture, network, cut, "split", Thresholds())
        for number in range(len(cut)):
            predict_tile(job, number)
        everything = tuple(slice(0, side) for side in shape)
        maps.append([plane.read(everything) for plane in (job.probability, job.core)])
    assert len(cut) > 8
    assert np.ptp(maps[0][0]) > 0.5
    np.testing.assert_array_equal(maps[0], maps[1])


def saved(path, **overrides):
    chosen = tiny(levels=3, norm="batch", outputs=3, **overrides)
    torch.manual_seed(3)
    save_weights(path, NGAT(chosen.model), chosen, {})
    return path


def test_weights_that_were_written_anew_are_read_again(tmp_path):
    path = saved(tmp_path / "w.safetensors", channels=8)
    first = trained(path, "cpu", False)
    assert trained(path, "cpu", False) is first
    saved(path, channels=16)
    assert trained(path, "cpu", False).model.config.channels == 16
    with pytest.raises(InputError, match="absent: cannot be read"):
        trained(tmp_path / "absent", "cpu", False)


@pytest.mark.parametrize(("shown", "expected"), [((), 1.0), ((1, 3), 3.0), ((0, 2, 3), 3.0)])
def test_windows_without_nuclei_have_no_vote(network, monkeypatch, shown, expected):
    """Five windows of a large picture; at those that show nuclei the network says 2, 3 and 4."""
    count = iter(range(5))
    votes = {1: 2.0, 3: 4.0} if len(shown) == 2 else {0: 2.0, 2: 3.0, 3: 4.0}

    def found(model, window):
        number = next(count)
        size = np.array([10.0] if number in shown else [])
        look = Seen(1.0, size, size / 10, size / 1e3, size / 10, np.zeros((len(size), 2)))
        return (votes[number] if number in shown else 1.0), [look]

    monkeypatch.setattr("ngat.segmentation.network.find_magnification", found)
    picture = array_picture(np.zeros((2600, 2600), np.uint8))
    assert network.magnification(picture) == (expected, ())


@pytest.mark.parametrize("contrast", ["plain", "percentile"])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint32, np.uint16])
def test_magnification_is_found_whatever_the_depth(tmp_path, dtype, contrast):
    """Over the range that tiles are shown over; float values need not lie in 0 to 1."""
    network = TrainedNetwork(saved(tmp_path / "w.safetensors", contrast=contrast))
    pixels = 1000 + 10 * clumps((96, 128)).astype(dtype)
    expected = network.magnification(array_picture(pixels.astype(np.float32)))
    assert network.magnification(array_picture(pixels)) == expected
    ranges = network.survey(array_picture(pixels), 1.0)
    assert np.ptp(pixels) == pytest.approx(float(np.max(ranges["high"] - ranges["low"])), rel=0.3)


@pytest.mark.parametrize("magnification", [None, 0.73, 1.37])
def test_one_picture_is_what_predict_makes_of_it(network, magnification):
    """Evaluation predicts a picture at once; segment gives the same nuclei, to the pixel."""
    pixels = np.random.default_rng(2).integers(0, 256, (150, 131, 3)).astype(np.uint8)
    pixels[40:80, 30:90] //= 3
    expected = predict(network.model, pixels, magnification=magnification)
    # Untrained, the maps hardly leave their mean.
    chosen = Thresholds(
        probability=float(np.median(expected.probability)), core=float(np.median(expected.core))
    )
    found = find_nuclei(
        array_picture(pixels), network, "split", chosen, magnification=magnification
    )
    assert found.magnification == expected.magnification
    labels = instances(expected, "split", chosen)
    assert labels.max() > 1
    np.testing.assert_array_equal(found.labels.read((slice(0, 150), slice(0, 131))), labels)
