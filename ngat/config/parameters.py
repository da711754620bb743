"""Parameters of the network, the loss and the training, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class ModelConfig:
    """The graph network (sections 3.1–3.5).

    Attributes:
        levels: magnification levels M.
        channels: width of a node's embedding.
        heads: attention heads; they share the channels between them.
        schedule: ``synchronous`` updates all levels at once with shared weights, as published;
            ``vcycle`` sweeps base → coarse → base, each level attending to updated neighbours.
        depth: synchronous layers, or V-cycles.
        relations: ``joint`` is one softmax over all taps, as published; ``typed`` gives king,
            child, parent and self their own maps, and each its own softmax.
        self_map: typed relations only: a node reads itself through a map of its own, besides being
            the middle one of its nine king taps.
        aggregator: ``gat`` (eq. 15–18), ``gcn`` (eq. 14) or ``mlp``.
        position: position term of eq. 19–21: ``none``, ``linear`` (b·Δζ), or ``table`` (one free
            value per tap that starts as b·Δζ; moves still enter through b).
        norm: ``none``, ``group`` or ``batch``: statistics over nodes, never per node.
        norm_groups: channel groups that share group statistics.
        residual: add a node's old embedding to its update.
        dropout: probability with which a channel of a node's update is dropped in training.
        plasticity: positions are ``fixed``, a free ``table``, or moved by ``xi`` (eq. 8–11).
        plasticity_steps: iterations K of ξ.
        plasticity_width: width of ξ's hidden layers.
        plasticity_squash: after ξ's hidden layers ``sigmoid``, as published, or ``centred``, the
            sigmoid moved to zero, 2σ(2x) − 1; see :class:`ngat.plasticity.Xi` for the difference.
        outputs: channels of the node-wise logits: nucleus, the core that seeds the split, and the
            size of the nucleus that covers a node (:mod:`ngat.magnification`).
        reconstruction: weight of a level's prediction relative to the next finer level's.
        engine: attention engine, a name in :data:`ngat.attention.ENGINES`, or ``auto``.
        contrast: images enter as they are, ``plain``; every channel over the range of its
            surroundings, ``local`` (:mod:`ngat.data.contrast`); so and with grey negatives shown
            on dark ground, ``positive``; or over that of the whole image, ``percentile``.
    """

    levels: int = 5
    channels: int = 32
    heads: int = 4
    schedule: Literal["synchronous", "vcycle"] = "vcycle"
    depth: int = 2
    relations: Literal["joint", "typed"] = "typed"
    self_map: bool = True
    aggregator: Literal["gat", "gcn", "mlp"] = "gat"
    position: Literal["none", "linear", "table"] = "table"
    norm: Literal["none", "group", "batch"] = "group"
    norm_groups: int = 4
    residual: bool = True
    dropout: float = 0.0
    plasticity: Literal["fixed", "table", "xi"] = "xi"
    plasticity_steps: int = 2
    plasticity_width: int = 16
    plasticity_squash: Literal["sigmoid", "centred"] = "sigmoid"
    outputs: int = 2
    reconstruction: float = 0.25
    engine: Literal["auto", "reference", "dgl", "cpu", "cuda"] = "auto"
    contrast: Literal["plain", "percentile", "local", "positive"] = "plain"

    @property
    def coarsest_cell(self) -> int:
        """Pixels a side of the coarsest level's cells."""
        return 2 ** (self.levels - 1)

    @property
    def receptive_field(self) -> int:
        """Pixels on which a prediction depends, in each direction, with fixed statistics.

        A king update reaches one cell of its level further, and whatever crosses levels spreads
        over the cell it arrives in. Positions add their neighbours' colours, those once more with
        every iteration of ξ, and pyramids of up to twice a cell's width.
        """
        sides = [2**m for m in range(self.levels)]
        if self.schedule == "synchronous":
            cells = self.depth * sides[-1]
        else:
            cells = 1 + self.depth * (2 * sum(sides) - sides[-1])
        steps = self.plasticity_steps if self.plasticity == "xi" else 0
        return cells + (2 + max(2, steps)) * sides[-1]


@dataclass(frozen=True)
class RivalConfig:
    """A convolutional network to compare with (:mod:`ngat.baselines.networks`).

    Attributes:
        network: ``unet``, ``fpn`` or ``maskrcnn`` (:mod:`ngat.baselines.maskrcnn`, for which norm
            and dropout do not count and width is that of its pyramid and heads).
        width: channels at full resolution; deeper stages have up to eight times as many.
        norm: ``instance``, ``group`` (of eight) or ``batch``.
        dropout: probability with which a channel is dropped in training.
        outputs, contrast: as in :class:`ModelConfig`.
    """

    network: Literal["unet", "fpn", "maskrcnn"] = "unet"
    width: int = 32
    norm: Literal["instance", "group", "batch"] = "instance"
    dropout: float = 0.0
    outputs: int = 2
    contrast: Literal["plain", "percentile", "local", "positive"] = "plain"

    @property
    def levels(self) -> int:
        """One: it predicts pixels alone."""
        return 1

    @property
    def coarsest_cell(self) -> int:
        """Pixels a side of what the deepest stage sees as one: it halves the sides four times."""
        return 16

    @property
    def receptive_field(self) -> int:
        """As :attr:`ModelConfig.receptive_field`, of networks that halve their sides four times."""
        return 256


@dataclass(frozen=True)
class LossConfig:
    """The loss (section 3.6).

    Attributes:
        kind: ``bce`` (eq. 22), ``focal`` (eq. 23) or ``balanced`` (eq. 25).
        gamma: γ, exponent of the modulating factor.
        alpha: α, weight of the nucleus class; the background weighs 1 − α.
        field: reading of the field of eq. 24: ``norm`` of the vector inside the home cell, its
            ``sum``, the norm over the ``patch``, or ``none`` (level weights alone).
        level_decay: weight of a level relative to the next finer level's.
        core_weight: weight of the core channel relative to the nucleus channel.
        size_weight: weight of the size channel, relative to the same.
        contact: how many times more a base node counts where two nuclei touch or nearly do
            (:func:`ngat.loss.contacts`).
    """

    kind: Literal["bce", "focal", "balanced"] = "balanced"
    gamma: float = 1.0
    alpha: float = 0.5
    field: Literal["norm", "sum", "patch", "none"] = "norm"
    level_decay: float = 0.5
    core_weight: float = 1.0
    size_weight: float = 0.5
    contact: float = 0.0


@dataclass(frozen=True)
class TrainConfig:
    """The training run (sections 4.1–4.2).

    Attributes:
        steps: optimiser steps of the whole schedule.
        batch: patches per step.
        patch: side of the square training patches in pixels.
        low_resolution: share of the schedule, from its start, that sees its patches at half
            resolution: a quarter of the work for much of what there is to learn.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: AdamW's decoupled decay.
        warmup: fraction of the steps over which the rate rises.
        clip: largest norm of the gradient.
        balance: 0 samples pictures uniformly, 1 samples the five types equally often; between,
            a type's share is its number of pictures to the power 1 − balance.
        validate_every: steps between validations.
        validate_images: validation pictures scored each time; 0 scores all.
        augment: random flips, turns, intensity, stain and inversion.
        strength: factor on how far stains and magnification change (:meth:`AugmentConfig.of`).
        sized: resize every patch so that the median nucleus of its image has nearly the size
            :data:`ngat.magnification.SIZE`; else patches have the image's own magnification.
        octaves: standard deviation of that size, in octaves.
        tail: share of patches whose nuclei have any size from a fifth to eight times as large.
        nuclei: share of patches that hold a nucleus drawn at random, so that crowded places are
            seen more often; the others lie anywhere.
        masks: annotation to train on, ``published`` or ``corrected``.
        held_out: type whose pictures neither training nor validation sees; empty leaves none out.
        seed: seed of initialisation, sampling and augmentation.
    """

    steps: int = 10_000
    batch: int = 8
    patch: int = 128
    low_resolution: float = 0.0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup: float = 0.05
    clip: float = 1.0
    balance: float = 0.5
    validate_every: int = 500
    validate_images: int = 0
    augment: bool = True
    strength: float = 1.0
    sized: bool = False
    octaves: float = 0.45
    tail: float = 0.15
    nuclei: float = 0.0
    masks: Literal["published", "corrected"] = "corrected"
    held_out: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Preset:
    """A named configuration: what one row of a table was made with."""

    name: str
    model: ModelConfig | RivalConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
