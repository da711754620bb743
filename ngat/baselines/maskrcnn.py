"""Mask R-CNN, the method of the challenge's third place, on the same patches as all networks.

ResNet-50 with a feature pyramid from torchvision (ten layers where its width is less than 256),
with random weights at the start and anchors for nuclei of the size that patches show
(:data:`ngat.magnification.SIZE`). Starting from random weights, pyramid and heads are normalised,
too, and by groups (He et al. 2019). The box head has two convolutions and a narrow layer in place
of two wide ones, so that its weights can be carried around. It finds nuclei one by one, so it has
losses and instances of its own; everything else of training is shared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngat.baselines.detection import detection
from ngat.config import RivalConfig
from ngat.data import Sample
from ngat.data.normalize import as_tensor
from ngat.errors import InputError
from ngat.inference import SMALLEST, evaluating
from ngat.magnification import SIZE
from ngat.metrics import average_f1
from ngat.model import Output
from ngat.system.precision import exact
from ngat.system.process import track

Labels = npt.NDArray[np.int32]

# Sides of the anchors on the five levels of the pyramid, whose cells are 4 to 64 pixels wide. The
# finest level has those of the usual nucleus: an anchor is at most half a cell off in both
# directions, and on the next level that would leave it less than half of a nucleus.
ANCHORS = tuple(tuple(SIZE * 2**n * part for part in (0.5, math.sqrt(0.5), 1.0)) for n in range(5))
RATIOS = (0.5, 1.0, 2.0)
MOST = 800  # nuclei of one image at most
SCORE = 0.5  # nuclei that are less sure are dropped, unless validation chose otherwise
SCORES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MIN_SIDE = 2.0  # of a nucleus to train on, in pixels of the patch
MIN_AREA = 16  # of a nucleus that is found, in pixels of the image
WIDTH = 256  # channels of the pyramid and the heads as published
# Magnifications that are tried to find the one at which the nuclei have the size SIZE, and the
# spread in octaves of what counts as that size.
FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)
SPREAD = 0.75
LIMITS = (1 / 16, 3.0)


class Detections(NamedTuple):
    """Nuclei at one magnification, best first.

    Attributes:
        boxes: (left, top, right, bottom) in pixels of the image, ``[N, 4]``.
        scores: ``[N]``.
        masks: probabilities inside the boxes, ``[N, 28, 28]``.
        magnification: of the look.
    """

    boxes: Tensor
    scores: Tensor
    masks: Tensor
    magnification: float


class MaskRCNN(nn.Module):
    """Mask R-CNN for nuclei.

    Args:
        config: a :class:`ngat.config.RivalConfig` whose network is ``maskrcnn``.

    Raises:
        MissingDependency: torchvision is not installed.
    """

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.config = config
        module = detection()
        width, full = config.width, config.width >= WIDTH
        resnet = module.backbone_utils.resnet
        if full:
            net = resnet.resnet50(weights=None, norm_layer=normalised)
        else:
            net = resnet.ResNet(resnet.BasicBlock, [1] * 4, norm_layer=normalised)
        stages = [512 // (1 if full else 4) * 2**n // 2 for n in range(4)]
        backbone = module.backbone_utils.BackboneWithFPN(
            net, {f"layer{n + 1}": str(n) for n in range(4)}, stages, width, norm_layer=normalised
        )
        heads, masks = module.faster_rcnn, module.mask_rcnn
        most = MOST if full else MOST // 16
        anchors = module.anchor_utils.AnchorGenerator(ANCHORS, (RATIOS,) * len(ANCHORS))
        self.body = module.MaskRCNN(
            backbone,
            box_head=heads.FastRCNNConvFCHead(
                (width, 7, 7), [width] * 2, [2 * width], norm_layer=normalised
            ),
            box_predictor=heads.FastRCNNPredictor(2 * width, 2),
            mask_head=masks.MaskRCNNHeads(width, (width,) * 4, 1, norm_layer=normalised),
            mask_predictor=masks.MaskRCNNPredictor(width, width, 2),
            rpn_anchor_generator=anchors,
            image_mean=[0.5] * 3,
            image_std=[0.25] * 3,
            _skip_resize=True,
            rpn_pre_nms_top_n_train=1000,
            rpn_post_nms_top_n_train=500,
            rpn_pre_nms_top_n_test=4 * most,
            rpn_post_nms_top_n_test=2 * most,
            box_batch_size_per_image=128,
            box_detections_per_img=most,
            box_score_thresh=min(SCORES),
            box_nms_thresh=0.4,
        )
        # Anchors take the type of what they lie on, and boxes that of what moves them: in bfloat16
        # they would be pixels off.
        regions = self.body.roi_heads
        for part in (backbone, self.body.rpn.head, regions.box_predictor, regions.mask_predictor):
            part.register_forward_hook(lambda _, __, found: all_exact(found))

    def forward(self, image: Tensor, targets: Tensor | None = None) -> Output:
        """Not available: it predicts no probabilities of pixels.

        Raises:
            InputError: always; it has :meth:`losses` and :meth:`nuclei`.
        """
        raise InputError("Mask R-CNN finds nuclei, not probabilities; use ngat evaluate with it.")

    def reconstruct(self, output: Output) -> Tensor:
        """Not available, as :meth:`forward`."""
        raise InputError("Mask R-CNN finds nuclei, not probabilities; use ngat evaluate with it.")

    def losses(self, image: Tensor, targets: Tensor) -> Tensor:
        """The sum of its five losses.

        Args:
            image: ``[B, 3, S, S]`` in [0, 1].
            targets: ``[B, 4, S, S]``, the last being numbers of nuclei
                (:class:`ngat.training.device.patches.DevicePatches`).
        """
        annotated = [instances_of(numbers) for numbers in targets[:, 3]]
        losses: dict[str, Tensor] = self.body(list(image), annotated)
        return torch.stack([loss.float() for loss in losses.values()]).sum()

    def look(self, image: npt.NDArray[Any], magnification: float) -> Detections:
        """All nuclei of an image at a magnification."""
        picture = as_tensor(image, self.config.contrast, magnification)
        height, width = picture.shape[-2:]
        space = (0, max(0, SMALLEST - width), 0, max(0, SMALLEST - height))
        picture = F.pad(picture, space).to(next(self.parameters()).device)
        with evaluating(self):
            # Its own preparation would resize the image, other than in training.
            prepare = self.body.transform
            padded = prepare.batch_images([prepare.normalize(picture[0])], prepare.size_divisible)
            sizes = [(picture.shape[-2], picture.shape[-1])]
            listed = detection().image_list.ImageList(padded, sizes)
            features = self.body.backbone(padded)
            proposals, _ = self.body.rpn(listed, features)
            ((found,), _) = self.body.roi_heads(features, proposals, listed.image_sizes)
        scale = found["boxes"].new_tensor(
            [image.shape[axis] / side for axis, side in ((1, width), (0, height))] * 2
        )
        return Detections(
            (found["boxes"].float() * scale).cpu(),
            found["scores"].float().cpu(),
            found["masks"].float()[:, 0].cpu(),
            magnification,
        )

    def found(self, image: npt.NDArray[Any], magnification: float | None = None) -> Detections:
        """All nuclei, at the magnification at which they have the size that it was trained for.

        Of several magnifications that is taken whose nuclei of that size cover most of the image,
        each by its score; then the one that their median asks for.
        """
        if magnification is not None:
            return self.look(image, magnification)
        longest = max(image.shape[:2])
        factors = [f for f in FACTORS if f >= 1 or f * longest >= 2 * SIZE]
        best = max((self.look(image, factor) for factor in factors), key=evidence)
        size = wanted(best)
        return best if size is None else self.look(image, float(np.clip(size, *LIMITS)))

    def nuclei(
        self, image: npt.NDArray[Any], *, magnification: float | None = None, score: float = SCORE
    ) -> Labels:
        """Nuclei of an image as labels ``int32 [H, W]``.

        Args:
            image: ``[H, W, 3]`` or ``[H, W]``.
            magnification: None finds it.
            score: nuclei below it are dropped.
        """
        image = np.asarray(image)
        return merged(self.found(image, magnification), (image.shape[0], image.shape[1]), score)

    def choose(self, samples: Sequence[Sample], *, progress: bool = True) -> dict[str, float]:
        """The score with the best average F1 on validation images."""
        found = [
            self.found(sample.image)
            for sample in track(samples, "Predict validation", progress=progress)
        ]

        def mean_f1(score: float) -> float:
            pairs = zip(found, samples, strict=True)
            scored = [average_f1(merged(one, s.labels.shape, score), s.labels) for one, s in pairs]
            return float(np.mean(scored))

        return {"score": max(SCORES, key=mean_f1)}


def all_exact(found: Any) -> Any:
    """Half precision as float32, in whatever holds the tensors."""
    if isinstance(found, Tensor):
        return exact(found)
    if isinstance(found, dict):
        return {name: all_exact(one) for name, one in found.items()}
    return type(found)(all_exact(one) for one in found)


def normalised(channels: int) -> nn.Module:
    """Normalisation by groups of 16 channels: images are few and unlike, regions of any number."""
    return nn.GroupNorm(max(1, channels // 16), channels)


def instances_of(numbers: Tensor) -> dict[str, Tensor]:
    """Nuclei of a patch in torchvision's form: boxes, classes and masks.

    Args:
        numbers: of the nucleus at every pixel, 0 on the background, ``[S, S]``.
    """
    present = numbers.unique()
    masks = numbers[None] == present[present > 0][:, None, None]
    boxes = torch.stack(
        [edge for axis in (1, 2) for edge in _span(masks.any(axis))], dim=1
    )  # left, right, top, bottom
    boxes = boxes[:, [0, 2, 1, 3]].float()
    large = ((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIDE).all(1)
    boxes, masks = boxes[large], masks[large]
    labels = torch.ones(len(boxes), dtype=torch.int64, device=numbers.device)
    return {"boxes": boxes, "labels": labels, "masks": masks.to(torch.uint8)}


def _span(line: Tensor) -> tuple[Tensor, Tensor]:
    """Where rows of ``bool [N, S]`` begin and end."""
    line = line.to(torch.uint8)
    return line.argmax(1), line.shape[1] - line.flip(1).argmax(1)


def merged(found: Detections, shape: tuple[int, ...], score: float = SCORE) -> Labels:
    """Nuclei as a label image: a pixel belongs to the surest nucleus that claims it.

    Of a nucleus whose pixels mostly belong to surer ones nothing is kept.
    """
    height, width = shape
    labels = np.zeros((height, width), dtype=np.int32)
    count = 0
    for box, sure, mask in zip(found.boxes.numpy(), found.scores.numpy(), found.masks, strict=True):
        if sure < score:
            continue
        left, top = np.floor(box[:2]).astype(int).clip(0)
        right, bottom = np.minimum(np.ceil(box[2:]).astype(int), (width, height))
        if right <= left or bottom <= top:
            continue
        # Places of the box's pixels in the mask, whose own pixels tile the box.
        x = (np.arange(left, right) + 0.5 - box[0]) / max(box[2] - box[0], 1e-3)
        y = (np.arange(top, bottom) + 0.5 - box[1]) / max(box[3] - box[1], 1e-3)
        grid = np.stack(np.meshgrid(2 * x - 1, 2 * y - 1), axis=-1).astype(np.float32)
        sampled = F.grid_sample(mask[None, None], torch.from_numpy(grid)[None], align_corners=False)
        inside = sampled[0, 0].numpy() > 0.5
        region = labels[top:bottom, left:right]
        free = inside & (region == 0)
        if free.sum() >= max(MIN_AREA, 0.5 * inside.sum()):
            count += 1
            region[free] = count
    return labels


def evidence(found: Detections) -> float:
    """Area of the nuclei that have the right size at a look's magnification, by their scores."""
    area = _areas(found)
    octaves = 0.5 * (area.clamp(min=1e-3) * found.magnification**2 / SIZE**2).log2()
    return float((area * found.scores * torch.exp2(-((octaves / SPREAD) ** 2))).sum())


def wanted(found: Detections) -> float | None:
    """The magnification at which the median nucleus has the size SIZE; None without nuclei."""
    areas = _areas(found)[found.scores >= SCORE]
    return float(SIZE / areas.clamp(min=1e-3).sqrt().median()) if len(areas) else None


def _areas(found: Detections) -> Tensor:
    """Areas of the nuclei in pixels of the image, ``[N]``."""
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).clamp(min=0)
    return sides.prod(1) * (found.masks > 0.5).float().mean((1, 2))
