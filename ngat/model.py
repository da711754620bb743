"""The residual graph attention network (sections 3.4 and 3.5, figure 4), from top to bottom.

A picture becomes a pyramid graph; every node starts from its projected colour and its level,
f = (ĉ, m̂) (eq. 1), is embedded, and then updated by message passing, layer after layer (eq. 12):

    h_i ← h_i + dropout(U(h_i, A({h_j : j ∈ N(i)})))        eq. 13

Two schedules use the same graph and the same attention. *Synchronous* layers update all levels
at once from their old states, as published. The *V-cycle* goes base → coarse → base; each level
attends to neighbours that were already updated, so that after one cycle every node has received
messages from every level. Logits are node-wise, at every level; the picture's prediction is their
weighted reconstruction (figure 6). How the paper is read here, and what the companion does
otherwise: L9–L12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngat import attention
from ngat.attention import Attend, TapGroup
from ngat.attention.position import PositionTerm
from ngat.attention.reference import aggregate, shifted
from ngat.config import ModelConfig
from ngat.errors import InputError
from ngat.graph import RELATIONS, SOURCE_STEP, PyramidGraph, Relation, sources_of
from ngat.plasticity import COLOURS, Placement, Plasticity, project_targets
from ngat.system.precision import exact

HEAD_BIAS = -2.0  # a head starts by calling a node in eight a nucleus: σ(−2) = 0.12


class Output(NamedTuple):
    """The network's output for a batch of pictures, one entry per level in every list.

    Attributes:
        logits: ``[B, K, H_m, W_m]``, channel 0 nucleus, 1 its core (:mod:`ngat.instances`), 2 its
            size (:mod:`ngat.magnification`).
        positions: ζ, ``[B, 3, H_m, W_m]``.
        moves: offsets from home, ``[B, 3, H_m, W_m]`` (see :mod:`ngat.plasticity`).
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
        groups = config.norm_groups if config.norm == "group" else 1
        if config.channels % config.heads or config.channels % groups:
            divisors = f"heads ({config.heads})" + f" and norm_groups ({groups})" * (groups > 1)
            raise InputError(f"channels ({config.channels}) must be a multiple of {divisors}.")
        self.config = config
        self.plasticity = Plasticity(config)
        self.embed = Maps(COLOURS + 1, [config.channels])
        self.norms = nn.ModuleList([Norm(config) for _ in range(config.levels)])
        self.updates = nn.ModuleList([PyramidGATConv(config, *step) for step in schedule(config)])
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
        engine = attention.find_engine(self.config.engine, image)
        message_passing = engine.message_passing or NGAT.message_passing
        logits = message_passing(self, placement, engine.attend)
        projected = None
        if targets is not None:
            projected = project_targets(targets, placement.positions, self.config.engine)
        return Output(logits, placement.positions, placement.moves, placement.valid, projected)

    def message_passing(self, placement: Placement, attend: Attend) -> list[Tensor]:
        """Embed the nodes, update them in the order of the schedule, and read off their logits.

        Args:
            attend: one level's attention, as :func:`ngat.attention.attend`.

        Returns:
            ``[B, K, H_m, W_m]`` for every level.
        """
        h = [self.embed(f)[0] for f in features_of(placement)]
        normalised = [norm(x) for norm, x in zip(self.norms, h, strict=True)]
        for update in self.updates:
            for m, new in update(h, normalised, placement.moves, attend).items():
                h[m], normalised[m] = new, cast(PyramidGATConv, update).norm(new, m)
        return [self.head(m)(x)[0] for m, x in enumerate(normalised)]

    def head(self, level: int) -> Maps:
        """The map from a level's normalised embeddings to its logits."""
        return cast(Maps, self.heads[level % len(self.heads)])

    def reconstruct(self, output: Output) -> Tensor:
        """Weighted reconstruction of all levels (figure 6): probabilities ``[B, K, H, W]``.

        Every pixel takes the prediction of its cell on each level; level m weighs r^m. In float32
        at least: half precision cannot tell probabilities near one apart.
        """
        sigmoid = attention.find_engine(self.config.engine, exact(output.logits[0])).sigmoid
        total, weights = torch.zeros_like(exact(output.logits[0])), 0.0
        for m, logits in enumerate(output.logits):
            weight = self.config.reconstruction**m
            cells = sigmoid(exact(logits))
            for finer in reversed(output.logits[:m]):
                height, width = finer.shape[-2:]
                cells = next(shifted(cells, "parent", height, width, fill=0.0))
            total = total + weight * cells
            weights += weight
        return total / weights


def schedule(config: ModelConfig) -> list[tuple[int | None, tuple[Relation, ...]]]:
    """Updates in order: (level, relations it attends to); level None updates all levels at once.

    After a V-cycle every node has a message of every level. Synchronous layers carry a message one
    level each, so M − 1 of them are needed (section 3.1).
    """
    if config.schedule == "synchronous":
        return [(None, RELATIONS)] * config.depth
    steps: list[tuple[int | None, tuple[Relation, ...]]] = [(0, ("king",))]
    for _ in range(config.depth):
        steps += [(m, ("king", "child")) for m in range(1, config.levels)]
        steps += [(m, ("king", "parent")) for m in reversed(range(config.levels - 1))]
    return steps


def features_of(placement: Placement) -> list[Tensor]:
    """f = (ĉ, m̂) (eq. 1) of every level, ``[B, 4, H_m, W_m]``."""
    top = max(len(placement.features) - 1, 1)
    return [
        torch.cat([colour, torch.full_like(colour[:, :1], m / top)], dim=1)
        for m, colour in enumerate(placement.features)
    ]


class PyramidGATConv(nn.Module):
    """Graph attention on a pyramid of node grids: one residual update (eq. 12–21).

    A node i attends to the nodes j of its king neighbourhood (9, itself included), its children
    (4) and its parent (1). With *joint* relations, as published, one map W serves all of them and
    one softmax runs over them all:

        z_j  = W h_j                                                            eq. 15
        e_ij = LeakyReLU(a_s·z_j + a_d·z_i + b·Δζ_ij)                           eq. 16, 19
        α_ij = exp(e_ij) / Σ_k exp(e_ik)                                        eq. 17
        h_i ← h_i + σ(Σ_j α_ij z_j + bias)                                      eq. 13, 18, 20, 21

    With *typed* relations each has its own W, a and b, and its own softmax (a lone parent's weight
    is one); the node itself has a fourth map, and a last map mixes the heads:

        h_i ← h_i + W_out σ(W_self h_i + Σ_king α z + Σ_children α z + z_parent) + bias

    The rows of a_s W and a_d W are parameters of their own (``[W; a_s W; a_d W]``): a·(z_i ‖ z_j)
    is a_d·z_i + a_s·z_j, and both are linear in h.

    Shapes:
        in: for every level m, ``[B, C, H_m, W_m]``, sides halved and rounded up from level to
        level (:class:`ngat.graph.PyramidGraph`); moves, if nodes have moved, ``[B, 3, H_m, W_m]``.
        out: the same for the levels that are updated.

    Args:
        config: its ``channels``, ``heads``, ``relations``, ``aggregator`` (other than by
            attention: graph convolution, eq. 14, or an MLP of the mean), ``position``,
            ``residual``, ``dropout`` and ``norm``.
        level: whose nodes it updates; None for all, with the same weights and at once.
        relations: what they attend to, as far as it exists.

    Example:
        >>> layer = PyramidGATConv(ModelConfig(channels=8, heads=2, relations="joint"))
        >>> levels = [torch.rand(1, 8, 6, 5), torch.rand(1, 8, 3, 3)]
        >>> [tuple(x.shape) for x in layer(levels).values()]
        [(1, 8, 6, 5), (1, 8, 3, 3)]
    """

    def __init__(
        self,
        config: ModelConfig,
        level: int | None = None,
        relations: tuple[Relation, ...] = RELATIONS,
    ) -> None:
        super().__init__()
        self.config, self.level, self.relations = config, level, relations
        self.joint = config.relations == "joint"
        self.self_map = config.self_map and not self.joint
        channels, heads = config.channels, config.heads
        attends = config.aggregator == "gat"
        source = [channels, heads] if attends else [channels]  # z, el
        moving = config.plasticity != "fixed" and config.levels > 1
        if self.joint:
            own = [*source, heads] if attends else source  # z, el, er
            self.own = Maps(channels, own, bias=False)
            self.bias = nn.Parameter(torch.zeros(channels))
            terms = {"all": PositionTerm(config, RELATIONS, joint=True, moving=moving)}
        else:
            softmaxes = [r for r in relations if r != "parent"] if attends else []
            own = [channels] if config.self_map else []
            # self, z, el, and er of every softmax
            self.own = Maps(channels, [*own, *source, *[heads] * len(softmaxes)])
            self.other = nn.ModuleDict(
                {
                    relation: Maps(channels, source if relation == "child" else [channels])
                    for relation in relations
                    if relation != "king"
                }
            )
            self.out = Maps(channels, [channels])
            moving = config.plasticity != "fixed" and level != 0
            terms = {r: PositionTerm(config, (r,), joint=False, moving=moving) for r in softmaxes}
        self.terms = nn.ModuleDict(terms if attends else {})
        if config.aggregator == "mlp":
            self.mlp = Maps(channels, [channels])
        self.norm = Norm(config, config.levels if level is None else 1)

    def forward(
        self,
        h: Sequence[Tensor],
        normalised: Sequence[Tensor] | None = None,
        moves: Sequence[Tensor] | None = None,
        attend: Attend = attention.attend,
    ) -> dict[int, Tensor]:
        """New embeddings h^(k+1) of the updated levels from h^(k) of all, by level (eq. 12).

        Args:
            h: embeddings of all levels, to which the update is added.
            normalised: what the maps read; None for ``h``.
            moves: offsets from home of all levels (:mod:`ngat.plasticity`); None for none.
            attend: one level's attention, as :func:`ngat.attention.attend`.
        """
        read = h if normalised is None else normalised
        # A joint map of a level serves itself and the levels beside it, and is computed once.
        made: dict[tuple[Maps, int], tuple[Tensor, ...]] = {}

        def mapped(relation: Relation, m: int) -> tuple[Tensor, ...]:
            key = self.map_of(relation), m
            if key not in made:
                made[key] = key[0](read[m])
            return made[key]

        new = {}
        for m in range(len(h)) if self.level is None else [self.level]:
            maps = {relation: mapped(relation, n) for relation, n in self.sources(m, len(h))}
            new[m] = self.update(h, m, maps, moves, attend)
        return new

    def sources(self, level: int, levels: int) -> list[tuple[Relation, int]]:
        """(relation, source level) of everything that a level's nodes attend to."""
        return [(r, n) for r, n in sources_of(level, levels) if r in self.relations]

    def map_of(self, relation: Relation) -> Maps:
        """The maps of a relation's sources: (z, el); of the nodes themselves (self, z, el, er …).

        There is no self without a map of its own, and no el where there is no softmax.
        """
        own = self.joint or relation == "king"
        return self.own if own else cast(Maps, self.other[relation])

    def update(
        self,
        h: Sequence[Tensor],
        level: int,
        maps: Mapping[Relation, tuple[Tensor, ...]],
        moves: Sequence[Tensor] | None,
        attend: Attend,
    ) -> Tensor:
        """New embeddings of one level: σ of its aggregate, mapped and added (eq. 13, 21).

        Args:
            h: embeddings of all levels.
            level: whose nodes are updated.
            maps: what :meth:`map_of` made of the nodes of every relation.
            moves, attend: as in :meth:`forward`.
        """
        if self.config.aggregator == "gat":
            update = maps["king"][0] if self.self_map else torch.zeros_like(h[level])
            if not self.joint and "parent" in maps:  # the softmax of a single tap is one
                height, width = h[level].shape[-2:]
                update = update + next(shifted(maps["parent"][0], "parent", height, width, 0.0))
            for groups, er in self.softmaxes(maps, level, moves):
                update = update + attend(groups, er)
        else:
            update = aggregate(self, maps, [tuple(x.shape[-2:]) for x in h], level)
        if self.joint:
            update = F.relu(update + self.bias[:, None, None])
        else:
            (update,) = self.out(F.relu(update))
        return self.residual(h[level], update)

    def residual(self, h: Tensor, update: Tensor) -> Tensor:
        """The node's old embedding and its update (eq. 13)."""
        update = F.dropout(update, self.config.dropout, self.training)
        return h + update if self.config.residual else update

    def softmaxes(
        self,
        maps: Mapping[Relation, tuple[Tensor, ...]],
        level: int,
        moves: Sequence[Tensor] | None,
    ) -> list[tuple[list[TapGroup], Tensor]]:
        """What the nodes attend to: (groups, er) of every softmax (eq. 16, 19)."""

        def group(relation: Relation, z: Tensor, el: Tensor, term: PositionTerm) -> TapGroup:
            source = level + SOURCE_STEP[relation]
            el = el + term.of_moves(moves, source, 2.0 ** (source - level))
            return TapGroup(relation, z, el, term.taps(relation).to(z.dtype))

        if self.joint:
            term, er = cast(PositionTerm, self.terms["all"]), maps["king"][2]
            groups = [group(relation, z, el, term) for relation, (z, el, _) in maps.items()]
            return [(groups, er - term.of_moves(moves, level, 1.0))]
        z_king, el_king, *ers = maps["king"][1:] if self.self_map else maps["king"]
        found = []
        for (relation, module), er in zip(self.terms.items(), ers, strict=True):
            if relation not in maps:
                continue  # weights that serve all levels meet one without children
            term = cast(PositionTerm, module)
            z, el = (z_king, el_king) if relation == "king" else maps[cast(Relation, relation)]
            groups = [group(cast(Relation, relation), z, el, term)]
            found.append((groups, er - term.of_moves(moves, level, 1.0)))
        return found


class Norm(nn.Module):
    """Normalisation of a channel, or a group of channels, over the nodes of a level.

    Never over the channels of a node alone: that erases contrast and amplifies flat background.
    It has no scale and shift of its own, since linear maps follow.

    *Group* statistics are those of one picture, in training and after it. *Batch* statistics are
    those of all pictures of a step in training, and fixed after it: then what lies far away cannot
    change what is a nucleus here.

    Args:
        levels: how many levels share the module. Each has batch statistics of its own, since the
            embeddings of different levels are distributed differently.
    """

    EPSILON = 1e-5
    # Share of the newest step in the running statistics. They span some 1/0.02 = 50 steps: enough
    # to average the differences between batches out, and few enough to be those of the final
    # weights, which the schedule's end hardly changes any more. The first 50 steps count equally,
    # so that a short training does not keep the values of the start.
    MOMENTUM = 0.02

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, config: ModelConfig, levels: int = 1) -> None:
        super().__init__()
        self.kind, self.groups = config.norm, config.norm_groups
        if self.kind == "batch":
            self.register_buffer("running_mean", torch.zeros(levels, config.channels))
            self.register_buffer("running_var", torch.ones(levels, config.channels))
            self.register_buffer("num_batches_tracked", torch.zeros(levels, dtype=torch.long))

    def forward(self, h: Tensor, level: int = 0) -> Tensor:
        """``[B, C, H_m, W_m]``, normalised; in training batch statistics are recorded."""
        if self.kind == "none":
            return h
        h = exact(h)
        if self.kind == "batch":
            if not self.training:
                mean, variance = self.statistics(level)
                return F.batch_norm(h, mean, variance, eps=self.EPSILON)
            variance, mean = torch.var_mean(h.detach(), (0, 2, 3), correction=0)
            self.record(mean, variance, h.numel() // h.shape[1], level)
            if h.numel() > h.shape[1]:
                return F.batch_norm(h, None, None, training=True, eps=self.EPSILON)
        elif h[0, 0].numel() > 1 or h.shape[1] > self.groups:
            return F.group_norm(h, self.groups, eps=self.EPSILON)
        return 0.0 * h  # one value is its own mean

    def statistics(self, level: int) -> tuple[Tensor, Tensor]:
        """Running mean and variance of a level's channels, ``[C]`` each."""
        level = level % len(self.running_mean)
        return self.running_mean[level], self.running_var[level]

    @torch.no_grad()
    def record(self, mean: Tensor, variance: Tensor, count: int, level: int) -> None:
        """Add a step's mean and variance over ``count`` nodes to the running statistics."""
        level = level % len(self.running_mean)
        variance = variance * (count / max(count - 1, 1))
        self.num_batches_tracked[level] += 1
        share = (1.0 / self.num_batches_tracked[level]).clamp(min=self.MOMENTUM)
        for kept, new in ((self.running_mean, mean), (self.running_var, variance)):
            kept[level] += share * (new.to(kept) - kept[level])


class Maps(nn.Module):
    """Several linear maps of the nodes' embeddings as one product (eq. 15).

    Args:
        channels: width of the input.
        parts: widths of the outputs.
        bias: whether the maps have biases (zero at the start).
    """

    def __init__(self, channels: int, parts: list[int], bias: bool = True) -> None:
        super().__init__()
        self.parts = parts
        self.weight = nn.Parameter(torch.empty(sum(parts), channels))
        for rows in self.weight.data.split(parts):
            nn.init.xavier_uniform_(rows)  # Glorot, as the paper
        self.bias = nn.Parameter(torch.zeros(sum(parts))) if bias else None

    def forward(self, h: Tensor) -> tuple[Tensor, ...]:
        """``[B, C, h, w]`` → one ``[B, part, h, w]`` per part (views of one tensor)."""
        # A batched product of planes: faster than a 1 × 1 convolution, backward above all.
        weight = self.weight.to(h.dtype).expand(len(h), -1, -1)
        if self.bias is None:
            out = torch.bmm(weight, h.flatten(2))
        else:
            bias = self.bias.to(h.dtype)[None, :, None]
            out = torch.baddbmm(bias.expand(len(h), -1, -1), weight, h.flatten(2))
        return out.unflatten(2, h.shape[2:]).split(self.parts, 1)
