"""Every network that can be trained: ours and its rivals.

The parts of U-Net and FPN are MONAI's. Around them stands only what lets them be trained, scored
and stored by the same code as the graph network: padding to the sizes that they can read, and an
output of one level.

*U-Net* (Ronneberger et al. 2015; Falk et al. 2019) is ``BasicUNet`` as it comes, with about two
million parameters. *FPN* (Lin et al. 2017) is a ResNet-18 of half its usual width under a feature
pyramid; every level of the pyramid passes a branch of its own and the branches are added up, as in
Kirillov et al. 2019. Its stem keeps the full resolution (3 × 3 instead of 7 × 7 with stride 2), and
the pyramid begins there: many nuclei are smaller than ten pixels. Nothing is pre-trained.

Mask R-CNN finds nuclei one by one and has a module of its own: :mod:`ngat.baselines.maskrcnn`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngat.config import ModelConfig, RivalConfig
from ngat.data.normalize import mirrored
from ngat.errors import InputError, MissingDependency
from ngat.graph import PyramidGraph
from ngat.model import HEAD_BIAS, NGAT, Output
from ngat.projection import home_positions
from ngat.system.precision import exact

if TYPE_CHECKING:
    from ngat.baselines.maskrcnn import MaskRCNN


# Both networks halve the sides four times. Twice that side leaves two pixels at the bottom, since
# one alone has no variance to be normalised by.
STRIDE = 16
SMALLEST = 32
GROUPS = 8


class Rival(nn.Module):
    """A convolutional network with the interface of the graph network.

    Args:
        config: see :class:`ngat.config.RivalConfig`.

    Raises:
        InputError: group norm does not divide the width.
        MissingDependency: MONAI is not installed.
    """

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        self.config = config
        self.body = {"unet": unet, "fpn": FeaturePyramid}[config.network](config)

    def forward(self, image: Tensor, targets: Tensor | None = None) -> Output:
        """Logits of a batch of pictures of one size; every pixel is a base node at home.

        Args:
            image: ``[B, 3, H, W]`` in [0, 1], any H and W.
            targets: ground truth ``[B, K, H, W]`` in [0, 1], handed on as it is.

        Raises:
            InputError: the picture is not ``[B, 3, H, W]``.
        """
        if image.ndim != 4 or image.shape[1] != 3 or image.numel() == 0:
            raise InputError(f"The network reads [B, 3, H, W]; got {tuple(image.shape)}.")
        height, width = image.shape[-2:]
        logits = self.body(readable(image))[..., :height, :width]
        home = home_positions(PyramidGraph(height, width, 1), 0, image)
        positions = home.expand(len(image), -1, -1, -1)
        valid = torch.ones_like(image[:, :1], dtype=torch.bool)
        known = None if targets is None else [targets]
        return Output([logits], [positions], [torch.zeros_like(positions)], [valid], known)

    def reconstruct(self, output: Output) -> Tensor:
        """Probabilities ``[B, K, H, W]``: there is one level."""
        return torch.sigmoid(exact(output.logits[0]))


class FeaturePyramid(nn.Module):
    """Feature pyramid network for segmentation, ``[B, 3, H, W]`` → logits ``[B, K, H, W]``.

    Args:
        config: see :class:`ngat.config.RivalConfig`; width w gives stages of w, 2w, 4w and 8w
            channels, a pyramid of 2w and branches of w.

    H and W are multiples of 16; others need :func:`readable`.
    """

    def __init__(self, config: RivalConfig) -> None:
        super().__init__()
        norm, w = _norm(config), config.width
        self.backbone = _monai("networks.nets.resnet").ResNet(
            block="basic",
            layers=[2, 2, 2, 2],
            block_inplanes=[w, 2 * w, 4 * w, 8 * w],
            spatial_dims=2,
            conv1_t_size=3,
            conv1_t_stride=1,
            feed_forward=False,
            bias_downsample=False,
            norm=norm,
        )
        stages = [w, w, 2 * w, 4 * w, 8 * w]
        blocks = _monai("networks.blocks.feature_pyramid_network")
        self.pyramid = blocks.FeaturePyramidNetwork(2, stages, 2 * w)
        convolution = _monai("networks.blocks.convolutions").Convolution
        self.branches = nn.ModuleList(
            [convolution(2, 2 * w, w, act="relu", norm=norm, bias=False) for _ in stages]
        )
        self.dropout = nn.Dropout2d(config.dropout)
        self.head = nn.Conv2d(w, config.outputs, 1)
        nn.init.constant_(self.head.bias[:2], HEAD_BIAS)  # type: ignore[index]  # it has a bias

    def forward(self, image: Tensor) -> Tensor:
        """Logits at full resolution."""
        levels = self.pyramid(self.features(image))
        merged: Tensor | None = None
        for branch, level in reversed([*zip(self.branches, levels.values(), strict=True)]):
            seen = branch(level)
            if merged is not None:
                seen = seen + F.interpolate(merged, scale_factor=2, mode="bilinear")
            merged = seen
        logits: Tensor = self.head(self.dropout(merged))
        return logits

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """What the stages of the backbone see, full resolution first; sides halve from each."""
        net = self.backbone
        x = net.act(net.bn1(net.conv1(image)))
        found = {"stem": x}
        x = net.maxpool(x)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            found[name] = x = getattr(net, name)(x)
        return found


def unet(config: RivalConfig) -> nn.Module:
    """MONAI's BasicUNet for colour pictures; at a width of 32 as it comes.

    The head starts by calling a node in eight a nucleus, as that of the graph network does.

    Raises:
        InputError: group norm does not divide the width.
        MissingDependency: MONAI is not installed.
    """
    w = config.width
    model: nn.Module = _monai("networks.nets.basic_unet").BasicUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=config.outputs,
        features=(w, w, 2 * w, 4 * w, 8 * w, w),
        norm=_norm(config),
        dropout=config.dropout,
    )
    nn.init.constant_(model.get_submodule("final_conv").bias[:2], HEAD_BIAS)  # type: ignore[index]
    return model


def readable(image: Tensor) -> Tensor:
    """The picture mirrored up to sides that the networks can read: multiples of 16, at least 32."""
    height, width = (max(-(-length // STRIDE) * STRIDE, SMALLEST) for length in image.shape[-2:])
    return mirrored(image, height, width)


def _norm(config: RivalConfig) -> tuple[str, dict[str, Any]]:
    """The normalisation as MONAI names it."""
    if config.norm == "group":
        if config.width % GROUPS:
            raise InputError(f"width ({config.width}) must be a multiple of {GROUPS} groups.")
        return "group", {"num_groups": GROUPS}
    return config.norm, {"affine": True}


def _monai(module: str) -> Any:
    """A module of MONAI, which is optional and slow to load."""
    try:
        return importlib.import_module(f"monai.{module}")
    except ImportError as error:
        raise MissingDependency(
            f"The U-Net and the FPN need MONAI, which cannot be loaded ({error}): "
            "pip install 'ngat[baselines]'."
        ) from error


Network = Union[NGAT, Rival, "MaskRCNN"]


def finds_nuclei(network: nn.Module) -> bool:
    """Whether a network gives nuclei rather than probabilities, and has losses of its own."""
    return hasattr(network, "nuclei")


def build(config: ModelConfig | RivalConfig) -> Network:
    """The network of a configuration, with random weights.

    Raises:
        InputError: a configuration that makes no network.
        MissingDependency: a rival's library is not installed.
    """
    if isinstance(config, RivalConfig) and config.network == "maskrcnn":
        from ngat.baselines.maskrcnn import MaskRCNN

        return MaskRCNN(config)
    return Rival(config) if isinstance(config, RivalConfig) else NGAT(config)
