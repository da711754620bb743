"""Mask R-CNN: its own parts by hand, and, where torchvision is installed, a step of training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ngat.config import preset
from ngat.errors import InputError, MissingDependency
from ngat.gpu import maskrcnn
from ngat.gpu.maskrcnn import Detections, instances_of, merged
from ngat.gpu.vision import detection, nms


def found(*nuclei, magnification=1.0):
    """Nuclei that fill their boxes: (left, top, right, bottom, score)."""
    table = torch.tensor([[float(v) for v in n] for n in nuclei]).reshape(-1, 5)
    return Detections(table[:, :4], table[:, 4], torch.ones(len(table), 28, 28), magnification)


def test_suppression_keeps_what_no_better_box_covers():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 4], [20, 20, 30, 30.0]])
    scores = torch.tensor([0.5, 0.9, 0.6, 0.1])
    # The first is covered by the second by .8, the third by .5, which is not more than .5.
    assert nms(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert nms(boxes, scores, 0.4).tolist() == [1, 3]
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


def test_instances_have_tight_boxes_and_their_own_masks():
    numbers = torch.zeros(12, 12)
    numbers[2:6, 3:9] = 7
    numbers[8:12, 0:3] = 2
    numbers[0, 0] = 5  # a pixel is no nucleus to learn from
    told = instances_of(numbers)
    assert told["boxes"].tolist() == [[0, 8, 3, 12], [3, 2, 9, 6]]
    assert told["labels"].tolist() == [1, 1]
    assert torch.equal(told["masks"][1].bool(), numbers == 7)
    empty = instances_of(torch.zeros(8, 8))
    assert empty["boxes"].shape == (0, 4)
    assert empty["masks"].shape == (0, 8, 8)


def test_the_surest_nucleus_takes_the_pixels_that_several_claim():
    labels = merged(found((2, 2, 12, 12, 0.9), (8, 2, 22, 12, 0.8), (3, 3, 9, 9, 0.7)), (20, 30))
    assert labels.max() == 2  # the third lies inside the first
    assert (labels[2:12, 2:12] == 1).all()
    assert (labels[2:12, 12:22] == 2).all()
    assert (labels > 0).sum() == 200
    assert merged(found((2, 2, 12, 12, 0.4)), (20, 30)).max() == 0
    assert merged(found((-5, -5, 6, 6, 0.9)), (20, 30))[:6, :6].all()  # cut by the image


def test_the_magnification_is_that_at_which_nuclei_have_the_size_of_training():
    large = found((0, 0, 80, 80, 0.9), (100, 0, 180, 80, 0.9), magnification=0.25)
    assert maskrcnn.wanted(large) == pytest.approx(20 / 80)
    assert maskrcnn.evidence(large) == pytest.approx(2 * 0.9 * 6400, rel=1e-5)
    assert maskrcnn.evidence(large._replace(magnification=1.0)) < 100
    assert maskrcnn.wanted(found()) is None


def test_a_missing_torchvision_is_said_in_a_sentence(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchvision", None)
    detection.cache_clear()
    try:
        with pytest.raises(InputError, match="Mask R-CNN needs torchvision"):
            detection()
    finally:
        detection.cache_clear()


@pytest.fixture(scope="module")
def network():
    try:
        detection()
    except MissingDependency as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    from ngat.baselines.networks import build

    return build(preset("maskrcnn", width=8).model)


def test_losses_and_gradients_are_finite_with_and_without_nuclei(network):
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, 48, 48, generator=generator)
    targets = torch.zeros(2, 4, 48, 48)
    targets[0, 3, 5:25, 8:30] = 3
    loss = network.train().losses(image, targets)
    loss.backward()
    assert loss.dtype == torch.float32
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert len(gradients) == len(list(network.parameters()))


def test_nuclei_of_an_image_of_any_size(network, monkeypatch):
    monkeypatch.setattr(maskrcnn, "FACTORS", (1.0,))
    image = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    labels = network.nuclei(image, score=0.0)
    assert labels.shape == (40, 61)
    assert labels.dtype == np.int32
    with pytest.raises(InputError, match="finds nuclei, not probabilities"):
        network(torch.zeros(1, 3, 32, 32))


def test_weights_come_back_from_eight_bits(network, tmp_path):
    from ngat.gpu.compact import compact
    from ngat.training.weights import load_weights, save_weights

    chosen = preset("maskrcnn", width=8)
    chosen = replace(chosen, model=network.config)
    save_weights(tmp_path / "a.safetensors", network, chosen, {"thresholds": {"score": 0.3}})
    compact(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").stat().st_size < 0.3 * (
        (tmp_path / "a.safetensors").stat().st_size
    )
    again = load_weights(tmp_path / "b.safetensors")
    assert again.provenance["thresholds"] == {"score": 0.3}
    for (name, one), other in zip(
        network.state_dict().items(), again.model.state_dict().values(), strict=True
    ):
        if one.is_floating_point() and one.numel():
            limit = float(one.abs().max()) / 250 + 1e-7
            assert float((one - other).abs().max()) <= limit, name
