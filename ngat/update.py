"""One residual update of a level's nodes: what they hear, and what becomes of it (eq. 13–21)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ngat import aggregate
from ngat.attention import TapGroup, attend, fuses
from ngat.attention.reference import shifted
from ngat.config import ModelConfig
from ngat.graph import RELATIONS, PyramidGraph, Relation
from ngat.layers import Embedding, Maps, Norm, PositionTerm


class Update(nn.Module):
    """One residual update of a level's nodes from the relations that it hears.

    With *joint* relations one map W serves all, there is one softmax over all taps, and the update
    is σ(Σ α z + bias) as in eq. 21. With *typed* relations each has its own map and softmax, the
    node itself a fourth map, and a last map mixes the heads.
    """

    def __init__(
        self, config: ModelConfig, level: int | None, relations: tuple[Relation, ...]
    ) -> None:
        super().__init__()
        self.config = config
        self.joint = config.relations == "joint"
        self.itself = config.self_map and not self.joint
        channels, heads = config.channels, config.heads
        attends = config.aggregator == "gat"
        source = [channels, heads] if attends else [channels]
        if self.joint:
            # [W; a_s W; a_d W]: z, el and er in one product
            self.own = Maps(channels, [*source, heads] if attends else source, bias=False)
            self.bias = nn.Parameter(torch.zeros(channels))
            moving = config.plasticity != "fixed" and config.levels > 1
            joint = PositionTerm(config, RELATIONS, joint=True, moving=moving)
            terms = {"all": joint} if attends else {}
        else:
            # er once per relation with a softmax to take: a lone parent has weight one.
            listening = [r for r in relations if r != "parent"] if attends else []
            itself = [channels] if config.self_map else []
            self.own = Maps(channels, [*itself, *source, *[heads] * len(listening)])
            self.other = nn.ModuleDict(
                {
                    relation: Maps(channels, source if relation == "child" else [channels])
                    for relation in relations
                    if relation != "king"
                }
            )
            self.out = Maps(channels, [channels])
            moving = config.plasticity != "fixed" and level != 0
            terms = {r: PositionTerm(config, (r,), joint=False, moving=moving) for r in listening}
        self.terms = nn.ModuleDict(terms)
        if config.aggregator == "mlp":
            self.mlp = Maps(channels, [channels])
        self.norm = Norm(config)

    def sources(self, relation: Relation, embedding: Embedding) -> tuple[Tensor, ...]:
        """(z, el) of a neighbouring level's nodes; (self, z, el, er …) of the level itself.

        There is no self where the configuration has no map for it, and with joint relations.
        """
        if self.joint or relation == "king":
            return self.own(embedding.normalised)
        return self.other[relation](embedding.normalised)

    def forward(
        self,
        here: Embedding,
        maps: dict[Relation, tuple[Tensor, ...]],
        graph: PyramidGraph,
        level: int,
        moves: list[Tensor],
    ) -> Embedding:
        """Update the nodes of ``level``.

        Args:
            here: their embeddings.
            maps: :meth:`sources` of every relation that they hear; ``king`` is themselves.
            moves: positional moves of all levels, ``[B, 3, H_m, W_m]``.
        """
        if self.config.aggregator != "gat":
            update = self._without_attention(maps, graph, level)
        else:
            update = maps["king"][0] if self.itself else torch.zeros_like(here.h)
            if not self.joint and "parent" in maps:  # the softmax of a single tap is one
                z = maps["parent"][0]
                update = update + next(shifted(z, "parent", *graph.sizes[level], fill=0.0))
            for groups, er in self.softmaxes(maps, level, moves):
                update = update + attend(groups, er, self.config.engine)
        if self.joint:
            return self.residual(here, F.relu(update + self.bias[:, None, None]))
        return self.residual(here, *self.out(F.relu(update)))

    def residual(self, here: Embedding, update: Tensor) -> Embedding:
        """The node's old embedding and its update (eq. 13, fig. 4)."""
        update = F.dropout(update, self.config.dropout, self.training)
        return self.norm(here.h + update if self.config.residual else update)

    def fuses(self, like: Tensor) -> bool:
        """Whether :meth:`at_once` can do this update."""
        return (
            not self.joint
            and self.config.aggregator == "gat"
            and not (self.config.dropout and self.training)
            and fuses(self.config.engine, like)
        )

    def at_once(
        self, heard: dict[Relation, Embedding], level: int, moves: list[Tensor]
    ) -> Embedding:
        """All of :meth:`forward`, and the maps before it, in one operation on the CPU."""
        from ngat.engines.cpu.fused import Heard, Out, typed_update

        sources = {}
        for relation, embedding in heard.items():
            maps = self.own if relation == "king" else cast(Maps, self.other[relation])
            assert maps.bias is not None
            sources[relation] = Heard(*embedding.folded, maps.weight, maps.bias)
        terms = {cast(Relation, name): cast(PositionTerm, t) for name, t in self.terms.items()}
        moved = [terms["king"].of_moves(moves, level, 1.0), 0.0, 0.0]
        if "child" in terms:
            moved[1] = terms["child"].of_moves(moves, level - 1, 0.5)
            moved[2] = terms["child"].of_moves(moves, level, 1.0)
        taps = {relation: term.taps(relation) for relation, term in terms.items()}
        assert self.out.bias is not None
        base = heard["king"].h if self.config.residual else None
        out = Out(self.out.weight, self.out.bias, base)
        h, moments, handed = typed_update(sources, taps, moved, out, self.itself)
        for relation, x in handed.items():
            heard[relation].hand_on(x)
        return self.norm(h, moments)

    def softmaxes(
        self, maps: dict[Relation, tuple[Tensor, ...]], level: int, moves: list[Tensor]
    ) -> list[tuple[list[TapGroup], Tensor]]:
        """What the nodes attend to: (groups, er) of every softmax; arguments as :meth:`forward`."""

        def group(relation: Relation, z: Tensor, el: Tensor, term: PositionTerm) -> TapGroup:
            source = level + aggregate.STEP[relation]
            el = el + term.of_moves(moves, source, 2.0 ** (source - level))
            return TapGroup(relation, z, el, term.taps(relation).to(z.dtype))

        if self.joint:
            term, er = cast(PositionTerm, self.terms["all"]), maps["king"][2]
            groups = [group(relation, z, el, term) for relation, (z, el, _) in maps.items()]
            return [(groups, er - term.of_moves(moves, level, 1.0))]
        z_king, el_king, *ers = maps["king"][1:] if self.itself else maps["king"]
        found = []
        for (relation, module), er in zip(self.terms.items(), ers, strict=True):
            if relation not in maps:
                continue  # layers that serve all levels meet one without children
            term = cast(PositionTerm, module)
            z, el = (z_king, el_king) if relation == "king" else maps[relation]
            groups = [group(relation, z, el, term)]
            found.append((groups, er - term.of_moves(moves, level, 1.0)))
        return found

    def _without_attention(
        self, maps: dict[Relation, tuple[Tensor, ...]], graph: PyramidGraph, level: int
    ) -> Tensor:
        values = {relation: parts[0] for relation, parts in maps.items()}
        own: Tensor | float = 0.0
        if self.itself:
            own, values["king"] = maps["king"]
        if self.config.aggregator == "gcn":
            return own + aggregate.convolve(values, graph, level)
        (mixed,) = self.mlp(F.relu(own + aggregate.mean(values, graph, level)))
        return mixed
