"""The floor: what no engine can go below on the machine at hand.

A layer with N nodes, E edges (self-loops included), C channels and h heads, in b bytes a number.
What it reads and writes once, whatever happens in between:

    forward    x in, h out                                        2 C   numbers a node
    backward   x and ∂L/∂h in, ∂L/∂x out                          3 C

Weights are few and edges need no list. The multiply-adds of its formulas:

    forward    z, el, er = [W; a_s W; a_d W] x        (eq. 15)    N C (C + 2h)
               h_i = Σ_j α_ij z_j                     (eq. 18)    E C
    backward   q_ij = ∂L/∂h_i · z_j                               E C
               ∂L/∂z_j = Σ_i α_ij ∂L/∂h_i                         E C
               ∂L/∂x, and ∂L/∂[W; a_s W; a_d W]                 2 N C (C + 2h)

Scores, exponentials and divisions are left out: 14 exponentials a node and head are far from
nothing, so the floor is optimistic. Bytes and multiply-adds can overlap, hence

    floor = max(bytes / copy bandwidth, multiply-adds / rate of a matrix product),

both rates measured in the same rounds and with the same threads as the engines: the bandwidth by
copying an array of the size of x (which small pictures find in a cache), the other by a product
of two large matrices.

The attention alone (z, el and er given) moves z, el, er in and h out, 2 C + 2 h numbers a node;
backward z, el, er and ∂L/∂h in, and the gradients of z, el, er out, 3 C + 4 h. Of the multiply-adds
those with E remain.
"""

from __future__ import annotations

from typing import NamedTuple

from ngat.benchmark.layers import Case

PASSES = ("forward", "forward+backward")


class Cost(NamedTuple):
    """Bytes that must move, and multiply-adds that must be done."""

    bytes: int
    multiply_adds: int


def cost(case: Case, scope: str, which: str) -> Cost:
    """What one call costs at least.

    Args:
        scope: ``layer``, or ``attention`` alone.
        which: ``forward`` or ``forward+backward``.
    """
    n, e, c, h = case.nodes, case.edges, case.channels, case.heads
    product = n * c * (c + 2 * h) if scope == "layer" else 0
    numbers = 2 * c if scope == "layer" else 2 * c + 2 * h
    multiply_adds = product + e * c
    if which == "forward+backward":
        numbers += 3 * c if scope == "layer" else 3 * c + 4 * h
        multiply_adds += 2 * product + 2 * e * c
    return Cost(numbers * n * case.torch_dtype.itemsize, multiply_adds)


def floor_ms(price: Cost, copy_gb_s: float, gfma_s: float) -> float:
    """The floor in milliseconds, from measured rates in 10⁹ bytes and multiply-adds a second."""
    return 1e3 * max(price.bytes / (copy_gb_s * 1e9), price.multiply_adds / (gfma_s * 1e9))
