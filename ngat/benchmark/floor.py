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
"""

from __future__ import annotations

from typing import NamedTuple

from ngat.benchmark.layers import Case
from ngat.benchmark.measure import Rates

PASSES = ("forward", "forward+backward")


class Cost(NamedTuple):
    """Bytes that must move, and multiply-adds that must be done."""

    bytes: int
    multiply_adds: int


def cost(case: Case, which: str) -> Cost:
    """What one call of a layer costs at least; ``which``: forward, or forward+backward."""
    n, e, c, h = case.nodes, case.edges, case.channels, case.heads
    if case.relations == "joint":
        product = n * c * (c + 2 * h)
    else:
        sizes = [case.batch * height * width for height, width in case.graph.sizes]
        of_children, of_parents = sum(sizes[:-1]), sum(sizes[1:])
        product = n * c * (3 * c + 3 * h) + of_children * c * (c + h) + of_parents * c * c
        e -= case.batch * case.graph.count_edges("parent")
    numbers, times = (2, 1) if which == "forward" else (5, 3)
    return Cost(numbers * c * n * case.torch_dtype.itemsize, times * (product + e * c))


def floor_ms(price: Cost, rates: Rates) -> float:
    """The floor in milliseconds."""
    return 1e-6 * max(price.bytes / rates.copy, price.multiply_adds / rates.product)
