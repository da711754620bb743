"""The floor: what no engine can go below on a given machine.

A layer with N nodes, E edges (self-loops included), C channels and h heads, in b bytes a number.
What it reads and writes once, whatever happens in between:

    forward    x in, h out                                        2 C   numbers a node
    backward   x and ∂L/∂h in, ∂L/∂x out                          3 C

Weights are few and edges need no list. The multiply-adds of its formulas, with joint relations:

    forward    z, el, er = [W; a_s W; a_d W] x        (eq. 15)    N C (C + 2h)
               h_i = Σ_j α_ij z_j                     (eq. 18)    E C
    backward   q_ij = ∂L/∂h_i · z_j                               E C
               ∂L/∂z_j = Σ_i α_ij ∂L/∂h_i                         E C
               ∂L/∂x, and ∂L/∂[W; a_s W; a_d W]                 2 N C (C + 2h)

With typed relations the products are wider: self, z, el and two er of every node, z and el of its
children, z of its parent and the last map; edges to parents need no product with α.

Scores, exponentials and divisions are left out: 14 exponentials a node and head are far from
nothing, so the floor is optimistic. Bytes and multiply-adds can overlap, hence

    floor = max(bytes / copy bandwidth, multiply-adds / rate of a matrix product),

both rates measured in the same rounds and with the same threads as the engines: the bandwidth by
copying an array of the size of x (which small pictures find in a cache), the other by a product
of two large matrices.

The attention alone (z, el and er given) moves z, el, er in and h out, 2 C + 2 h numbers a node;
backward z, el, er and ∂L/∂h in, and the gradients of z, el, er out, 3 C + 4 h. Of the multiply-adds
those with E remain.

Of a training step an operation reads its inputs once and writes its outputs once, forward; backward
it reads inputs and the outputs' gradient, and writes those of its inputs. Activations, residuals
and projections are taken to be part of their neighbours, which a fused kernel can make them: the
sum of the parts (:mod:`ngat.benchmark.parts`) is optimistic, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ngat.attention import TapGroup, attend
from ngat.benchmark.layers import Case
from ngat.benchmark.parts import PARTS
from ngat.graph import PyramidGraph
from ngat.model import NGAT, Maps, Norm
from ngat.plasticity import Dense

PASSES = ("forward", "forward+backward")
SINGLE = 4  # bytes of a number of losses, weights and their moments


class Cost(NamedTuple):
    """Bytes that must move, and multiply-adds that must be done."""

    bytes: int
    multiply_adds: int


def cost(case: Case, scope: str, which: str) -> Cost:
    """What one call costs at least.

    Args:
        scope: ``layer`` (joint), ``typed layer``, or ``attention`` alone.
        which: ``forward`` or ``forward+backward``.
    """
    n, e, c, h = case.nodes, case.edges, case.channels, case.heads
    product = 0
    if scope == "layer":
        product = n * c * (c + 2 * h)
    elif scope == "typed layer":
        sizes = [case.batch * height * width for height, width in case.graph.sizes]
        of_children, of_parents = sum(sizes[:-1]), sum(sizes[1:])
        product = n * c * (3 * c + 3 * h) + of_children * c * (c + h) + of_parents * c * c
        e -= case.batch * case.graph.count_edges("parent")
    numbers = 2 * c + 2 * h if scope == "attention" else 2 * c
    multiply_adds = product + e * c
    if which == "forward+backward":
        numbers += 3 * c + 4 * h if scope == "attention" else 3 * c
        multiply_adds += 2 * product + 2 * e * c
    return Cost(numbers * n * case.torch_dtype.itemsize, multiply_adds)


def floor_ms(price: Cost, copy_gb_s: float, gfma_s: float) -> float:
    """The floor in milliseconds, from measured rates in 10⁹ bytes and multiply-adds a second."""
    return 1e3 * max(price.bytes / (copy_gb_s * 1e9), price.multiply_adds / (gfma_s * 1e9))


def step_costs(model: NGAT, side: int, batch: int, itemsize: int) -> list[tuple[str, Cost]]:
    """(part, cost) of every operation of a training step, forward and backward together.

    Args:
        model: on the CPU.
        side, batch: of the pictures.
        itemsize: bytes of a number of the embeddings.
    """
    found: list[tuple[str, Cost]] = []

    def add(part: str, numbers: int, multiply_adds: int, size: int = itemsize) -> None:
        found.append((part, Cost(batch * numbers * size, batch * multiply_adds)))

    def of_maps(part: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Sequence[Tensor], outputs: Any) -> None:
            channels, made = inputs[0].shape[1], outputs
            made = sum(o.shape[1] for o in made) if isinstance(made, tuple) else made.shape[1]
            nodes = inputs[0].numel() // channels
            add(part, nodes * (3 * channels + 2 * made), 3 * nodes * channels * made)

        return hook

    def of_norm(module: nn.Module, inputs: Sequence[Tensor], _: Tensor) -> None:
        add(PARTS[Norm], 5 * inputs[0].numel(), 0)

    def attended(groups: Sequence[TapGroup], destination: Tensor) -> Tensor:
        out = attend(groups, destination, "reference")
        read = destination.numel() + sum(g.values.numel() + g.source.numel() for g in groups)
        taps = sum(group.tap.shape[1] for group in groups)
        add("attention", 3 * read + 2 * out.numel(), 3 * taps * out.numel())
        return out

    hooks = {Maps: of_maps(PARTS[Maps]), Dense: of_maps("projection and plasticity"), Norm: of_norm}
    with ExitStack() as stack, torch.no_grad():
        for module in model.modules():
            if type(module) in hooks:
                handle = module.register_forward_hook(hooks[type(module)])
                stack.callback(handle.remove)
        image, graph = torch.rand(1, 3, side, side), PyramidGraph(side, side, model.config.levels)
        logits = model.message_passing(model.plasticity(image, graph), attended)
    for level in logits:  # logits and targets in, a gradient out
        add("loss", 3 * level.numel(), 0, SINGLE)
    # AdamW reads weight, gradient and two moments, and writes all but the gradient.
    weights = sum(parameter.numel() for parameter in model.parameters())
    found.append(("optimiser", Cost(7 * weights * SINGLE, 0)))
    return found


def step_floors(
    costs: Sequence[tuple[str, Cost]], copy_gb_s: float, gfma_s: float
) -> dict[str, float]:
    """Sums of the operations' floors in milliseconds, by part."""
    floors: dict[str, float] = defaultdict(float)
    for part, price in costs:
        floors[part] += floor_ms(price, copy_gb_s, gfma_s)
    return dict(floors)
