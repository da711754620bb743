# mypy: allow-untyped-defs, allow-incomplete-defs, disable-error-code="assignment"
"""Tiles and taps of the Triton kernels: which nodes a thread has, where their sources are,
and how it scores.

* The rows of a thread share most of their taps. Places are written as ``y + constant``, so that one
  place is one expression, and the compiler loads it once: of 18 king taps of two rows, 12.
* A tap that leads outside the picture is moved to the nearest place inside and has a weight of
  exactly zero: the inner loops need no masks. (That place is a neighbour by another tap, so no
  node is touched that is not a source.)
"""

import triton
import triton.language as tl

from ngat import attention

SLOPE = tl.constexpr(attention.SLOPE)  # of the LeakyReLU
# Score of a tap that does not exist. It is finite so that threads beyond the picture, which have no
# taps at all, make no NaN.
NOWHERE = tl.constexpr(-1e38)
WARP = tl.constexpr(32)


@triton.jit
def tile(ROWS: tl.constexpr, COLUMNS: tl.constexpr, THREADS: tl.constexpr):
    """First row and column of every thread of this program."""
    thread = tl.arange(0, THREADS)
    y = (tl.program_id(1) * (THREADS // COLUMNS) + thread // COLUMNS) * ROWS
    return y, tl.program_id(0) * COLUMNS + thread % COLUMNS


@triton.jit
def planes(tensor, step, heads, count: tl.constexpr, size):
    """The first of this head's ``count`` planes in a ``[B, heads · count, h, w]``.

    step: elements from picture to picture; size: elements of a plane, h · w.
    """
    picture = (tl.program_id(2) // heads).to(tl.int64)
    head = (tl.program_id(2) % heads).to(tl.int64)
    return tensor + picture * step + head * count * size


@triton.jit
def locate(y, x, h, w, relation: tl.constexpr, tap: tl.constexpr, row: tl.constexpr):
    """Where node (y + row, x) finds a tap: its place in a plane of h × w, and whether it exists.

    y is a multiple of ROWS, so if a thread has several rows then y is even.
    """
    if relation == "king":
        v = y + (row + tap // 3 - 1)
        u = x + (tap % 3 - 1)
    elif relation == "child":
        v = 2 * y + (2 * row + tap // 2)
        u = 2 * x + tap % 2
    else:
        v = y // 2 + row // 2
        u = x // 2
    inside_v = tl.minimum(tl.maximum(v, 0), h - 1)
    inside_u = tl.minimum(tl.maximum(u, 0), w - 1)
    return inside_v * w + inside_u, (v == inside_v) & (u == inside_u)


@triton.jit
def own(y, x, h, w, ROWS: tl.constexpr):
    """Places of a thread's own nodes in a plane of h × w, and which of them exist."""
    here, inside = (), ()
    for r in tl.static_range(ROWS):
        place, there = locate(y, x, h, w, "king", 4, r)
        here = here + (place,)
        inside = inside + (there,)
    return here, inside


@triton.jit
def attend_tap(e, at, el, t, er, y, x, h, w, relation: tl.constexpr, count: tl.constexpr,
         row: tl.constexpr, EXACT: tl.constexpr):  # fmt: skip
    """Append the scores e_ik of one relation's taps, and their places."""
    for k in tl.static_range(count):
        place, there = locate(y, x, h, w, relation, k, row)
        s = tl.load(el + place).to(EXACT) + er + tl.load(t + k).to(EXACT)
        e = e + (tl.where(there, tl.maximum(s, s * SLOPE), NOWHERE),)
        at = at + (place,)
    return e, at


@triton.jit
def scores(er, er_step, king, king_step, king_t, child, child_step, child_t, parent, parent_step,
           parent_t, heads, y, x, here, H, W, h, w, KING: tl.constexpr, CHILD: tl.constexpr,
           PARENT: tl.constexpr, ROWS: tl.constexpr, EXACT: tl.constexpr):  # fmt: skip
    """Scores and places of all taps: those of a thread's first row, then those of the next."""
    e, at = (), ()
    head = tl.program_id(2) % heads
    er = planes(er, er_step, heads, 1, H * W)
    for r in tl.static_range(ROWS):
        er_i = tl.load(er + here[r]).to(EXACT)
        if KING:
            el = planes(king, king_step, heads, 1, H * W)
            t = king_t + head * KING
            e, at = attend_tap(e, at, el, t, er_i, y, x, H, W, "king", KING, r, EXACT)
        if CHILD:
            el = planes(child, child_step, heads, 1, h * w)
            t = child_t + head * CHILD
            e, at = attend_tap(e, at, el, t, er_i, y, x, h, w, "child", CHILD, r, EXACT)
        if PARENT:
            height, width = (H + 1) // 2, (W + 1) // 2
            el = planes(parent, parent_step, heads, 1, height * width)
            t = parent_t + head
            e, at = attend_tap(e, at, el, t, er_i, y, x, height, width, "parent", PARENT, r, EXACT)
    return e, at


@triton.jit
def softmax(e, row: tl.constexpr, TAPS: tl.constexpr):
    """The largest score m of a thread's row, and 1/s."""
    m = e[row * TAPS]
    for k in tl.static_range(1, TAPS):
        m = tl.maximum(m, e[row * TAPS + k])
    s = tl.exp(e[row * TAPS] - m)
    for k in tl.static_range(1, TAPS):
        s += tl.exp(e[row * TAPS + k] - m)
    return m, 1.0 / s


@triton.jit
def value(king, child, parent, place, k: tl.constexpr, KING: tl.constexpr, CHILD: tl.constexpr,
          EXACT: tl.constexpr):  # fmt: skip
    """One channel of z_j at the place of tap k."""
    if k < KING:
        z = tl.load(king + place)
    elif k < KING + CHILD:
        z = tl.load(child + place)
    else:
        z = tl.load(parent + place)
    return z.to(EXACT)
