"""The projection of :mod:`ngat.projection` on the CPU, in one pass over the nodes.

A box covers a part of its first column of pixels, whole columns, and a part of its last one, and
rows alike: shares u of columns, v of rows. With S the sums of pixels in these 3 × 3 blocks, the
integral over the box and its derivative in the right edge, for instance, are

    T = Σ_j Σ_i v_j u_i S_ji            ∂T/∂right = Σ_j v_j S_j,last

and for the mean T / A over the area A, which is bounded by the picture,

    ∂(T / A)/∂right = (∂T/∂right − T / A · (bottom − top)) / A.

The mean is the same to the last bit wherever in a picture a box and its pixels lie, so that tiles
see what the whole shows: pixels in float32 and edges are rounded to multiples of a power of two, so
that the integral image, its differences S and the shares are exact.

* Channels of the integral image lie side by side: a look-up touches one line of the cache.
* In the backward pass, channels are weighted with their gradients first, so that there is one T.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ngat.engines.cpu.compile import Job, inlined, kernel, share, threads_for
from ngat.engines.cpu.simd import ahead, pointer
from ngat.projection import MIN_VALID_PIXELS

# As much as the reference asks for, and what its area may lack from rounding.
LEAST = MIN_VALID_PIXELS * (1 - 1e-9)
# Added and subtracted, they round to a multiple of 2^-28 and of 2^-32 (float64 has 52 bits). Sums
# of 2^24 pixels are then exact, and so are places in a picture of 2^16 pixels a side.
TO_PIXEL, TO_PLACE = 1.5 * 2.0**24, 1.5 * 2.0**20


def integral_image(pixels: Tensor) -> Tensor:
    """As :func:`ngat.projection.integral_image`, with the channels innermost in memory."""
    batch, channels, height, width = pixels.shape
    found = torch.empty(batch, height + 1, width + 1, channels, dtype=torch.float64)
    rounding = TO_PIXEL if pixels.dtype == torch.float32 else 0.0
    integrate(pixels.detach().contiguous().numpy(), found.numpy(), rounding)
    return found.permute(0, 3, 1, 2)


def project(integral: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`ngat.projection.project`, with a mean of the type of ``positions``."""
    positions = positions.expand(len(integral), -1, -1, -1)
    mean, valid = Projection.apply(integral.permute(0, 2, 3, 1).contiguous(), positions)
    return mean, valid


class Projection(torch.autograd.Function):
    """Forward and backward of :func:`project`; ``integral`` is ``[B, H + 1, W + 1, C]``."""

    @staticmethod
    def forward(ctx: Any, integral: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        batch, _, height, width = positions.shape
        positions = positions.contiguous()
        mean = positions.new_empty(batch, integral.shape[-1], height, width)
        valid = torch.empty(batch, 1, height, width, dtype=torch.bool)
        arrays = [x.numpy() for x in (positions.detach(), mean, valid)]
        rounding = 0.0 if ctx.needs_input_grad[1] else TO_PLACE

        def run(_: int, *rows: int) -> None:
            project_rows(entries(integral), *arrays, LEAST, rounding, *rows)

        share(Job(run, batch * height, threads_for(mean.numel())))
        ctx.save_for_backward(integral, positions)
        ctx.mark_non_differentiable(valid)
        ctx.set_materialize_grads(False)
        return mean, valid

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor | None, _: Any) -> tuple[None, Tensor | None]:
        integral, positions = ctx.saved_tensors
        if d is None:
            return None, None
        found = torch.empty_like(positions)
        arrays = [x.numpy() for x in (positions.detach(), d.contiguous(), found)]

        def run(_: int, *rows: int) -> None:
            project_back(entries(integral), *arrays, LEAST, *rows)

        share(Job(run, len(d) * d.shape[2], threads_for(d.numel())))
        return None, found


def entries(integral: Tensor) -> tuple[int, ...]:
    """For the kernels: address, height and width of the picture, channels."""
    _, height, width, channels = integral.shape
    return integral.data_ptr(), height - 1, width - 1, channels


class Edge(NamedTuple):
    """Entries on both sides of an edge.

    Attributes:
        at: where it is, inside the picture.
        low: the entry before it; the next one lies behind it.
        far: how far it lies from ``low``.
        free: 1 where it moves with the node, 0 where the picture's end holds it.
    """

    at: float
    low: int
    far: float
    free: float


@inlined
def edge(at, end, rounding):  # type: ignore[no-untyped-def]
    """An edge that would be ``at``; ``rounding`` is added and taken off."""
    if at != at:  # NaN, which has no entries, but must not be lost
        return Edge(at, 0, at, 0.0)
    at = (at + rounding) - rounding
    inside = min(max(at, 0.0), float(end))
    low = min(int(inside), end - 1)
    return Edge(inside, low, inside - low, 1.0 if inside == at else 0.0)


@inlined
def box(positions, b, row, i, height, width, rounding):  # type: ignore[no-untyped-def]
    """Edges of a node's box: left, right, top, bottom."""
    longer = max(height, width)
    x, y = float(positions[b, 0, row, i]) * longer, float(positions[b, 1, row, i]) * longer
    half = float(positions[b, 2, row, i]) * longer / 2.0**0.5
    return (
        edge(x - half, width, rounding),
        edge(x + half, width, rounding),
        edge(y - half, height, rounding),
        edge(y + half, height, rounding),
    )


@inlined
def band(first, last, left, right, step):  # type: ignore[no-untyped-def]
    """Sums over rows between two lines of entries: the box's columns, the first, and the last."""
    i, j = left.low * step, right.low * step
    before, behind = last[i] - first[i], last[i + step] - first[i + step]
    until, beyond = last[j] - first[j], last[j + step] - first[j + step]
    of_first, of_last = behind - before, beyond - until
    within = (1.0 - left.far) * of_first + (until - behind) + right.far * of_last
    return within, of_first, of_last


@inlined
def over(entries, edges, step, line):  # type: ignore[no-untyped-def]
    """T and its derivatives in left, right, top, bottom; ``entries`` are those of one channel."""
    left, right, top, bottom = edges
    upper, lower = ahead(entries, top.low * line), ahead(entries, bottom.low * line)
    below_upper, below_lower = ahead(upper, line), ahead(lower, line)
    a, a_first, a_last = band(upper, below_upper, left, right, step)
    b, b_first, b_last = band(below_upper, lower, left, right, step)
    c, c_first, c_last = band(lower, below_lower, left, right, step)
    v, w = 1.0 - top.far, bottom.far
    return (
        v * a + b + w * c,
        -(v * a_first + b_first + w * c_first),
        v * a_last + b_last + w * c_last,
        -a,
        c,
    )


@kernel
def integrate(pixels, integral, rounding):  # type: ignore[no-untyped-def]
    """Sums of all that lies above and on the left; ``rounding`` is added and taken off."""
    batch, channels, height, width = pixels.shape
    integral[:, 0] = 0
    for b in range(batch):
        for y in range(height):
            integral[b, y + 1, 0] = 0
            for c in range(channels):
                along = 0.0
                for x in range(width):
                    along += (pixels[b, c, y, x] + rounding) - rounding
                    integral[b, y + 1, x + 1, c] = integral[b, y, x + 1, c] + along


@kernel
def project_rows(integral, positions, mean, valid, least, rounding, first, last):  # type: ignore[no-untyped-def]
    """T / A for rows of nodes numbered through all pictures; 0 where A is less than ``least``."""
    address, height, width, channels = integral
    line, rows, columns = (width + 1) * channels, positions.shape[2], positions.shape[3]
    for n in range(first, last):
        b, row = n // rows, n % rows
        picture = ahead(pointer(address, 0.0), b * (height + 1) * line)
        for i in range(columns):
            edges = box(positions, b, row, i, height, width, rounding)
            left, right, top, bottom = edges
            area = (right.at - left.at) * (bottom.at - top.at)
            valid[b, 0, row, i] = not area < least
            for c in range(channels):
                total = over(ahead(picture, c), edges, channels, line)[0]
                mean[b, c, row, i] = 0.0 if area < least else total / area


@kernel
def project_back(integral, positions, d, found, least, first, last):  # type: ignore[no-untyped-def]
    """Gradients in x, y and z: edges move with x or y, and apart with z / √2."""
    address, height, width, channels = integral
    line, rows, columns = (width + 1) * channels, positions.shape[2], positions.shape[3]
    longer = float(max(height, width))
    for n in range(first, last):
        b, row = n // rows, n % rows
        picture = ahead(pointer(address, 0.0), b * (height + 1) * line)
        for i in range(columns):
            edges = box(positions, b, row, i, height, width, 0.0)
            left, right, top, bottom = edges
            wide, high = right.at - left.at, bottom.at - top.at
            area = wide * high
            d_left = d_right = d_top = d_bottom = 0.0
            for c in range(0 if area < least else channels):
                total, of_left, of_right, of_top, of_bottom = over(
                    ahead(picture, c), edges, channels, line
                )
                each, mean = d[b, c, row, i] / area, total / area
                d_left += each * (of_left + mean * high)
                d_right += each * (of_right - mean * high)
                d_top += each * (of_top + mean * wide)
                d_bottom += each * (of_bottom - mean * wide)
            d_left, d_right = d_left if left.free else 0.0, d_right if right.free else 0.0
            d_top, d_bottom = d_top if top.free else 0.0, d_bottom if bottom.free else 0.0
            found[b, 0, row, i] = longer * (d_left + d_right)
            found[b, 1, row, i] = longer * (d_top + d_bottom)
            found[b, 2, row, i] = longer / 2.0**0.5 * (d_right - d_left + d_bottom - d_top)
