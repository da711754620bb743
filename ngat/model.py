"""The residual graph attention network (sections 3.4 and 3.5, figure 4).

A picture becomes a pyramid graph; every node starts from its projected colour and its level,
f = (ĉ, m̂) (eq. 1), is embedded, and then updated by message passing:

    h_i ← h_i + dropout(U(h_i, A({h_j : j ∈ N(i)})))        eq. 13

Two schedules walk the same graph with the same attention. *Synchronous* layers update all levels
at once from their old states, as published. The *V-cycle* sweeps base → coarse → base; each level
hears neighbours that were already updated, so that after one cycle every node has heard every
level. Logits are node-wise, at every level; the picture's prediction is their weighted
reconstruction (figure 6).
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ngat import aggregate
from ngat.attention import fuses
from ngat.attention.reference import shifted
from ngat.config import ModelConfig
from ngat.errors import InputError
from ngat.gpu.precision import exact
from ngat.graph import RELATIONS, PyramidGraph, Relation
from ngat.layers import Embedding, Maps, Norm
from ngat.plasticity import COLOURS, Placement, Plasticity
from ngat.projection import projector
from ngat.update import Update

# The head starts by calling a node in eight a nucleus: σ(−2) = 0.12 (nuclei are the minority).
HEAD_BIAS = -2.0


class Output(NamedTuple):
    """What the network says of a batch of pictures, one entry per level in every list.

    Attributes:
        logits: ``[B, K, H_m, W_m]``, channel 0 nucleus, channel 1 core.
        positions: ζ, ``[B, 3, H_m, W_m]``.
        moves: displacements from home, ``[B, 3, H_m, W_m]`` (see :mod:`ngat.plasticity`).
        valid: ``[B, 1, H_m, W_m]``, enough pixels under the node's pyramid.
        targets: ground truth projected like the colour, ``[B, K, H_m, W_m]``; None without it.
    """

    logits: list[Tensor]
    positions: list[Tensor]
    moves: list[Tensor]
    valid: list[Tensor]
    targets: list[Tensor] | None


class NGAT(nn.Module):
    """Neuroplastic graph attention network.

    Args:
        config: see :class:`ngat.config.ModelConfig`.

    Raises:
        InputError: heads or norm groups do not divide the channels.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.channels % config.heads or config.channels % config.norm_groups:
            raise InputError(
                f"channels ({config.channels}) must be a multiple of heads ({config.heads}) and "
                f"of norm_groups ({config.norm_groups})."
            )
        self.config = config
        self.plasticity = Plasticity(config)
        self.embed = Maps(COLOURS + 1, [config.channels])
        self.norms = nn.ModuleList([Norm(config) for _ in range(config.levels)])
        self.schedule = schedule(config)
        self.updates = nn.ModuleList([Update(config, *step) for step in self.schedule])
        heads = 1 if config.schedule == "synchronous" else config.levels
        self.heads = nn.ModuleList([Maps(config.channels, [config.outputs]) for _ in range(heads)])
        for head in self.heads:
            nn.init.constant_(cast(Tensor, head.bias)[:2], HEAD_BIAS)

    def forward(self, image: Tensor, targets: Tensor | None = None) -> Output:
        """Node-wise logits of a batch of pictures of one size.

        Args:
            image: ``[B, 3, H, W]`` in [0, 1], any H and W.
            targets: ground truth ``[B, K, H, W]`` in [0, 1], projected with the same pyramids;
                no gradient reaches the positions through it, or the network would move its nodes
                to where its task is easy.

        Raises:
            InputError: the picture is not ``[B, 3, H, W]``.
        """
        if image.ndim != 4 or image.shape[1] != COLOURS or image.numel() == 0:
            raise InputError(f"The network reads [B, 3, H, W]; got {tuple(image.shape)}.")
        graph = PyramidGraph(image.shape[2], image.shape[3], self.config.levels)
        placement = self.plasticity(image, graph)
        embeddings = self.message_passing(placement, graph)
        logits = [self.logits(m, embedding) for m, embedding in enumerate(embeddings)]
        projected = None
        if targets is not None:
            projected = _project_targets(targets, placement.positions, self.config.engine)
        return Output(logits, placement.positions, placement.moves, placement.valid, projected)

    def logits(self, level: int, embedding: Embedding) -> Tensor:
        """Scores of a level's nodes, ``[B, K, H_m, W_m]``."""
        head = cast(Maps, self.heads[level % len(self.heads)])
        if fuses(self.config.engine, embedding.h):
            return head.in_one(*embedding.folded)[0]
        return head(embedding.normalised)[0]

    def message_passing(self, placement: Placement, graph: PyramidGraph) -> list[Embedding]:
        """Embed f = (ĉ, m̂) (eq. 1) and run the schedule; one embedding per level."""
        embeddings: list[Embedding] = []
        for norm, feature in zip(self.norms, placement.features, strict=True):
            level = len(embeddings) / max(graph.levels - 1, 1)
            f = torch.cat([feature, torch.full_like(feature[:, :1], level)], dim=1)
            fused = fuses(self.config.engine, f)
            embeddings.append(norm(*(self.embed.in_one(f) if fused else self.embed(f))))
        for (m, relations), update in zip(self.schedule, self.updates, strict=True):
            assert isinstance(update, Update)
            if m is None:
                embeddings = self._synchronous(update, embeddings, graph, placement.moves)
                continue
            heard = {relation: embeddings[m + aggregate.STEP[relation]] for relation in relations}
            if update.fuses(heard["king"].h):
                embeddings[m] = update.at_once(heard, m, placement.moves)
                continue
            maps = {relation: update.sources(relation, h) for relation, h in heard.items()}
            embeddings[m] = update(embeddings[m], maps, graph, m, placement.moves)
        return embeddings

    @staticmethod
    def _synchronous(
        update: Update, old: list[Embedding], graph: PyramidGraph, moves: list[Tensor]
    ) -> list[Embedding]:
        """One layer with shared weights on all levels at once, from their old states."""
        if update.joint:
            own = [update.sources("king", embedding) for embedding in old]
            maps = [
                {relation: own[n] for relation, n in aggregate.heard_by(m, graph.levels)}
                for m in range(graph.levels)
            ]
        else:
            maps = [
                {
                    relation: update.sources(relation, old[n])
                    for relation, n in aggregate.heard_by(m, graph.levels)
                }
                for m in range(graph.levels)
            ]
        return [update(old[m], maps[m], graph, m, moves) for m in range(graph.levels)]

    def reconstruct(self, output: Output) -> Tensor:
        """Weighted reconstruction of all levels (figure 6): probabilities ``[B, K, H, W]``.

        Every pixel takes the prediction of its cell on each level; level m weighs r^m.
        """
        height, width = output.logits[0].shape[-2:]
        total, weights = torch.zeros_like(exact(output.logits[0])), 0.0
        for m, logits in enumerate(output.logits):
            weight = self.config.reconstruction**m
            cells = torch.sigmoid(exact(logits))
            for n in reversed(range(m)):
                below = output.logits[n].shape[-2:]
                cells = next(shifted(cells, "parent", below[0], below[1], 0.0))
            total = total + weight * cells[:, :, :height, :width]
            weights += weight
        return total / weights


def schedule(config: ModelConfig) -> list[tuple[int | None, tuple[Relation, ...]]]:
    """Updates in order: (level, relations heard); level None updates all levels at once.

    After a V-cycle every node has heard every level. Synchronous layers carry a message one level
    each, so M − 1 of them are needed (section 3.1).
    """
    if config.schedule == "synchronous":
        return [(None, RELATIONS)] * config.depth
    steps: list[tuple[int | None, tuple[Relation, ...]]] = [(0, ("king",))]
    for _ in range(config.depth):
        steps += [(m, ("king", "child")) for m in range(1, config.levels)]
        steps += [(m, ("king", "parent")) for m in reversed(range(config.levels - 1))]
    return steps


def _project_targets(targets: Tensor, positions: list[Tensor], engine: str) -> list[Tensor]:
    projection = projector(engine, targets)
    integral = projection.integral_image(targets)
    coarse = [projection.project(integral, zeta.detach())[0] for zeta in positions[1:]]
    return [targets, *(mean.to(targets) for mean in coarse)]
