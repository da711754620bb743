"""Mask R-CNN: its own parts by hand, and, where torchvision is installed, a step of training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import rings

from ngat.baselines import maskrcnn
from ngat.baselines.detection import detection, nms, roi_align
from ngat.baselines.maskrcnn import Detections, instances_of, merged
from ngat.config import preset
from ngat.data import Sample
from ngat.errors import InputError, MissingDependency
from ngat.evaluation.evaluator import evaluate
from ngat.magnification import SIZE
from ngat.metrics import image_score, match
from ngat.training.device.patches import DevicePatches
from ngat.training.distributed import team
from ngat.training.step import Optimisation
from ngat.training.weights import save_weights


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


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_regions_of_a_plane_are_read_at_the_middles_of_their_cells(aligned, scale):
    """Bilinear samples of a plane are exact, and so is their mean: its value at the middle."""
    rows, columns = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    features = torch.stack([torch.stack([rows + n, 2 * columns - n]) for n in (0, 10)])
    regions = torch.tensor([[1, 3.5, 2.0, 9.5, 14.0], [0, 5, 6, 11, 7.5], [1, 8, 1, 8.5, 9]])
    inside = regions.clone()
    inside[:, 1:] /= scale
    found = roi_align(features, inside, scale, 4, 3, 2, aligned)
    assert found.shape == (3, 2, 4, 3)
    for (image, left, top, right, bottom), one in zip(regions.tolist(), found, strict=True):
        shift = 0.5 if aligned else 0.0
        width, height = right - left, bottom - top
        if not aligned:  # no region is narrower than a pixel
            width, height = max(width, 1.0), max(height, 1.0)
        y = top - shift + (torch.arange(4) + 0.5) * height / 4 + 10 * image
        x = 2 * (left - shift + (torch.arange(3) + 0.5) * width / 3) - 10 * image
        torch.testing.assert_close(one[0], y[:, None].expand(4, 3))
        torch.testing.assert_close(one[1], x.expand(4, 3))


def test_there_is_an_anchor_for_every_nucleus():
    """Wherever a nucleus lies: nearly the same box for the usual one, half of it for others.

    What covers less than .7 of a nucleus is learnt from only as the best of a bad lot.
    """
    for size, least in [(SIZE, 0.65), (0.7 * SIZE, 0.55), (1.5 * SIZE, 0.5), (6 * SIZE, 0.55)]:
        worst = 1.0
        for place in range(0, 64, 2):
            best = 0.0
            for level, sides in enumerate(maskrcnn.ANCHORS):
                cell = 4 * 2**level
                apart = min(place % cell, -place % cell)  # from the nearest anchor's middle
                for side in sides:
                    shared = max(0.0, min(side, size, (side + size) / 2 - apart)) ** 2
                    best = max(best, shared / (side**2 + size**2 - shared))
            worst = min(worst, best)
        assert worst >= least, (size, worst)
    assert len({len(sides) for sides in maskrcnn.ANCHORS}) == 1


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


def test_boxes_are_exact_in_mixed_precision(network):
    """bfloat16 has eight bits: the places of an image of 1000 pixels would be four pixels apart."""
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 3, 64, 64, generator=generator)
    targets = torch.zeros(1, 4, 64, 64)
    targets[0, 3, 5:25, 8:30] = 3
    kept = {}
    parts = {"rpn": network.body.rpn, "boxes": network.body.roi_heads.box_predictor}
    handles = [
        part.register_forward_hook(lambda _, __, found, name=name: kept.update({name: found[0]}))
        for name, part in parts.items()
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = network.train().losses(image, targets)
    for handle in handles:
        handle.remove()
    proposals = kept["rpn"][0]
    assert proposals.dtype == kept["boxes"].dtype == loss.dtype == torch.float32
    assert not torch.equal(proposals, proposals.bfloat16().float())
    assert bool(torch.isfinite(loss))


def test_nuclei_of_an_image_of_any_size(network, monkeypatch):
    monkeypatch.setattr(maskrcnn, "FACTORS", (1.0,))
    image = np.random.default_rng(0).integers(0, 256, (40, 61, 3), dtype=np.uint8)
    shown = []
    handle = network.body.backbone.register_forward_pre_hook(
        lambda _, inputs: shown.append(tuple(inputs[0].shape))
    )
    labels = network.nuclei(image, score=0.0)
    network.nuclei(image, magnification=2.0)
    handle.remove()
    # At the magnification that was asked for, as in training; padded to whole cells alone.
    assert shown[0] == (1, 3, 96, 96)
    assert shown[-1] == (1, 3, 96, 128)
    assert labels.shape == (40, 61)
    assert labels.dtype == np.int32
    with pytest.raises(InputError, match="finds nuclei, not probabilities"):
        network(torch.zeros(1, 3, 32, 32))


def test_weights_come_back_from_eight_bits(network, tmp_path):
    from ngat.training.weights import compact, load_weights, save_weights

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


@pytest.mark.timeout(1200)
def test_it_learns_to_find_the_nuclei_of_an_image():
    """A few steps of the trainer on one image of five discs, whose instances it then finds.

    With wrong targets, anchors, masks or places of boxes it would not.
    """
    try:
        detection()
    except MissingDependency as error:
        pytest.skip(str(error))
    from ngat.baselines.networks import build

    labels = np.zeros((64, 64), dtype=np.int32)
    rows, columns = np.ogrid[:64, :64]
    for number, (y, x) in enumerate([(12, 14), (14, 44), (36, 28), (52, 10), (50, 52)], 1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 < 100] = number
    grey = 40 + 120 * (labels > 0) + np.random.default_rng(0).integers(0, 30, labels.shape)
    image = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    sample = Sample("discs", image, labels, "small_fluorescent", "discs", "train")
    steps = 36
    chosen = preset(
        "maskrcnn", width=16, batch=2, patch=64, augment=False, sized=False, steps=steps,
        learning_rate=4e-3, warmup=0.15,
    )  # fmt: skip
    torch.manual_seed(0)
    model = build(chosen.model)

    def score():
        return image_score(match(model.nuclei(image, magnification=1.0), labels)).average_f1

    patches = DevicePatches([sample], chosen.train, contrast=chosen.model.contrast)
    assert score() < 0.1
    with team("cpu") as members:
        training = Optimisation(model, chosen, members)
        losses = [
            float(training.step(patches.batch(n), n, (n + 0.5) / steps)[1][0]) for n in range(steps)
        ]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert score() > 0.3


def test_flips_are_refused_for_what_finds_boxes(network, tmp_path):
    path = tmp_path / "boxes.safetensors"
    save_weights(path, network, preset("maskrcnn", width=8), {})
    with pytest.raises(InputError, match="maskrcnn finds boxes"):
        evaluate(rings("val", 1), tmp_path, data="rings", weights=path, tta=True, progress=False)
