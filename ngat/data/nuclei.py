"""Shapes and packing of drawn nuclei, their textures, noise and light, the same on every platform.

Floating-point functions such as ``exp`` or ``sin`` differ in their last bit between processors and
libraries, and one bit is enough to change a picture's hash. Everything here therefore uses only
``random`` and ``integers`` of numpy's PCG64 and the operations that IEEE 754 rounds exactly
(``+ - * /``, ``sqrt``, comparisons, ``floor``), in a fixed order. Angles are unit vectors,
harmonics come from the multiple-angle recurrence, and blurs are sums of
shifted pictures and noise is a sum of uniform integers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Float = npt.NDArray[np.float64]
Generator = np.random.Generator


def generator(*key: int) -> Generator:
    """The random stream that belongs to ``key``; any two keys give independent streams."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def between(rng: Generator, low: float, high: float) -> float:
    """A number drawn evenly from ``[low, high)``."""
    return low + (high - low) * float(rng.random())


def direction(rng: Generator) -> tuple[float, float]:
    """A unit vector drawn evenly from the circle: (cosine, sine) of an angle never computed."""
    while True:
        x, y = between(rng, -1.0, 1.0), between(rng, -1.0, 1.0)
        square = x * x + y * y
        if 0.01 < square <= 1.0:
            length = float(np.sqrt(square))
            return x / length, y / length


@dataclass(frozen=True)
class Law:
    """How the nuclei of one picture are shaped and packed.

    Attributes:
        count: nuclei to place; fewer when they no longer fit.
        radius: range of the geometric mean of the two half axes, in pixels.
        elongation: range of the long half axis over the short one.
        ripple: size of the outline's harmonics 2 to 5, as a fraction of the radius.
        bend: largest bend of the long axis (a kidney's curve), as a fraction of the short one.
        touching: probability that a nucleus is laid against one that is there already.
        gap: least distance in pixels between nuclei that do not touch.
        min_area: least visible area of a nucleus in pixels.
    """

    count: int
    radius: tuple[float, float]
    elongation: tuple[float, float] = (1.0, 1.5)
    ripple: float = 0.04
    bend: float = 0.1
    touching: float = 0.3
    gap: float = 2.0
    min_area: int = 16


@dataclass(frozen=True)
class Outline:
    """A bent ellipse with a rippled outline, centred at (row, column) in pixels."""

    row: float
    column: float
    long: float
    short: float
    cosine: float
    sine: float
    bend: float
    ripples: tuple[float, ...]

    def reach(self, cosine: float, sine: float) -> float:
        """Distance from the centre to the plain ellipse in direction (cosine, sine)."""
        u = (cosine * self.cosine + sine * self.sine) / self.long
        v = (sine * self.cosine - cosine * self.sine) / self.short
        return 1.0 / float(np.sqrt(u * u + v * v))

    def depth(self, rows: Float, columns: Float) -> Float:
        """Distance to the outline in pixels, positive inside, exact to first order.

        ``rows [h, 1]`` and ``columns [1, w]`` are pixel centres; the answer is ``[h, w]``.
        """
        dy, dx = rows - self.row, columns - self.column
        u = (dx * self.cosine + dy * self.sine) / self.long
        v = (dy * self.cosine - dx * self.sine) / self.short
        v = v - self.bend * (u * u - 0.5)
        # The floor keeps the centre, where no direction exists, out of the division.
        q = np.maximum(np.sqrt(u * u + v * v), 1e-6)
        c, s = u / q, v / q
        outline = np.ones_like(q)
        ck, sk = c, s
        for order in range(2, 6):
            ck, sk = ck * c - sk * s, sk * c + ck * s  # angle addition: cos kθ, sin kθ
            a, b = self.ripples[2 * (order - 2)], self.ripples[2 * (order - 2) + 1]
            outline = outline + a * ck + b * sk
        slope = np.sqrt((c / self.long) * (c / self.long) + (s / self.short) * (s / self.short))
        # Along the long axis the slope is least; the bound only bites at the very centre.
        return (outline - q) / np.maximum(slope, 1.0 / self.long)


@dataclass(frozen=True)
class Nucleus:
    """One placed nucleus: its shape and its depth over a window of the picture."""

    label: int
    shape: Outline
    window: tuple[slice, slice]
    depth: Float

    @property
    def radius(self) -> float:
        """Geometric mean of the half axes in pixels."""
        return float(np.sqrt(self.shape.long * self.shape.short))

    def coverage(self, softness: float = 1.0) -> Float:
        """Share of each pixel of the window under the nucleus; its edge is ``softness`` wide."""
        return np.clip(self.depth / softness + 0.5, 0.0, 1.0)


def draw_shape(rng: Generator, law: Law, row: float, column: float) -> Outline:
    """A shape of ``law`` at the given centre."""
    radius = between(rng, *law.radius)
    root = float(np.sqrt(between(rng, *law.elongation)))
    cosine, sine = direction(rng)
    bend = between(rng, -law.bend, law.bend)
    # Higher harmonics are smaller, as on any smooth outline.
    ripples = tuple(
        between(rng, -law.ripple, law.ripple) * 2.0 / order for order in (2, 2, 3, 3, 4, 4, 5, 5)
    )
    return Outline(row, column, radius * root, radius / root, cosine, sine, bend, ripples)


def place(shape: Outline, height: int, width: int, label: int = 0, margin: float = 6.0) -> Nucleus:
    """Measure ``shape`` over the window of the picture that it and a margin take up."""
    reach = shape.long * 1.4 + margin
    top, bottom = max(0, int(shape.row - reach)), min(height, int(shape.row + reach) + 1)
    left, right = max(0, int(shape.column - reach)), min(width, int(shape.column + reach) + 1)
    rows = np.arange(top, max(top, bottom), dtype=np.float64)[:, None]
    columns = np.arange(left, max(left, right), dtype=np.float64)[None, :]
    window = (slice(top, max(top, bottom)), slice(left, max(left, right)))
    return Nucleus(label, shape, window, shape.depth(rows, columns))


def _connected(mask: npt.NDArray[np.bool_]) -> bool:
    return ndimage.label(mask)[1] == 1


def pack(
    rng: Generator, height: int, width: int, law: Law
) -> tuple[npt.NDArray[np.int32], list[Nucleus]]:
    """Place the nuclei of ``law``: ``labels int32 [height, width]`` and the nuclei 1 … n.

    A nucleus never changes those placed before it: it lies beneath them and shows what they
    leave free, in one piece. At least one nucleus is placed in any picture that can hold one.
    """
    labels = np.zeros((height, width), dtype=np.int32)
    near = np.zeros((height, width), dtype=bool)
    placed: list[Nucleus] = []
    for _ in range(20 * law.count + 20):
        if len(placed) >= law.count:
            break
        touching = bool(placed) and float(rng.random()) < law.touching
        row, column = between(rng, 0.0, height), between(rng, 0.0, width)
        shape = draw_shape(rng, law, row, column)
        if touching:
            host = placed[int(rng.integers(len(placed)))].shape
            c, s = direction(rng)
            apart = (host.reach(c, s) + shape.reach(c, s)) * between(rng, 0.78, 1.0)
            row, column = host.row + s * apart, host.column + c * apart
            shape = replace(shape, row=row, column=column)
            if not (0.0 <= row < height and 0.0 <= column < width):
                continue
        nucleus = place(shape, height, width, len(placed) + 1)
        mask = nucleus.depth > 0.0
        free = mask & (labels[nucleus.window] == 0)
        area, shown = int(np.count_nonzero(mask)), int(np.count_nonzero(free))
        if not touching and bool(np.any(mask & near[nucleus.window])):
            continue
        if shown < law.min_area or 10 * shown < 7 * area or not _connected(free):
            continue
        labels[nucleus.window][free] = nucleus.label
        near[nucleus.window] |= nucleus.depth > -law.gap
        placed.append(nucleus)
    return labels, placed


def relief(
    rng: Generator,
    height: int,
    width: int,
    cell: float,
    stretch: float = 1.0,
    along: tuple[float, float] = (1.0, 0.0),
    bend: Float | float = 0.0,
) -> Float:
    """Smooth random relief ``[height, width]`` in [0, 1) with bumps of about ``cell`` pixels.

    Values at the corners of a lattice, joined by the cubic 3t² - 2t³. The lattice is turned so
    that its first axis runs ``along`` (cosine, sine), where the bumps are ``stretch`` times longer;
    ``bend [height, width]`` shifts it across that axis, in pixels, and so makes streaks wave.
    """
    y = np.arange(height, dtype=np.float64)[:, None]
    x = np.arange(width, dtype=np.float64)[None, :]
    c, s = along
    u = (x * c + y * s) / (cell * stretch)
    v = (y * c - x * s + bend) / cell
    iu, iv = np.floor(u), np.floor(v)
    ju, jv = (iu - iu.min()).astype(np.int64), (iv - iv.min()).astype(np.int64)
    lattice = rng.random((int(ju.max()) + 2, int(jv.max()) + 2))
    tu, tv = u - iu, v - iv
    tu, tv = tu * tu * (3.0 - 2.0 * tu), tv * tv * (3.0 - 2.0 * tv)
    near = lattice[ju, jv] + (lattice[ju + 1, jv] - lattice[ju, jv]) * tu
    far = lattice[ju, jv + 1] + (lattice[ju + 1, jv + 1] - lattice[ju, jv + 1]) * tu
    return near + (far - near) * tv


def grain(rng: Generator, *shape: int) -> Float:
    """Noise of mean 0 and variance 1, nearly normal: the sum of four uniform integers."""
    draws = rng.integers(0, 256, size=(4, *shape), dtype=np.int64)
    total = draws[0] + draws[1] + draws[2] + draws[3]
    # Each draw has variance (256² - 1) / 12.
    return (total - 510.0) / float(np.sqrt(4.0 * 65535.0 / 12.0))


def blur(picture: Float, radius: int, passes: int = 2) -> Float:
    """Box blur of the first two axes, repeated; edges repeat the outermost pixel."""
    if radius <= 0:
        return picture
    side = 2 * radius + 1
    for _ in range(passes):
        for axis in (0, 1):
            edge = [(0, 0)] * picture.ndim
            edge[axis] = (radius, radius)
            padded = np.moveaxis(np.pad(picture, edge, mode="edge"), axis, 0)
            length = picture.shape[axis]
            total = padded[:length].copy()
            for shift in range(1, side):
                total += padded[shift : shift + length]
            picture = np.moveaxis(total / side, 0, axis)
    return picture


def quantise(picture: Float) -> npt.NDArray[np.uint8]:
    """Round to the nearest whole grey level and clip to 0 … 255."""
    return np.floor(np.clip(picture, 0.0, 255.0) + 0.5).astype(np.uint8)


def uneven(rng: Generator, height: int, width: int, strength: float) -> Float:
    """A slow field of light around 1: a tilt in a random direction plus broad relief."""
    c, s = direction(rng)
    y = (np.arange(height, dtype=np.float64)[:, None] / height - 0.5) * s
    x = (np.arange(width, dtype=np.float64)[None, :] / width - 0.5) * c
    broad = relief(rng, height, width, max(height, width) * 0.6) - 0.5
    return 1.0 + strength * (x + y + broad)


def dye(rng: Generator, red: float, green: float, blue: float, spread: float) -> Float:
    """A stain's colour ``[3]``, varied from slide to slide by up to ``spread`` grey levels."""
    return np.array([between(rng, level - spread, level + spread) for level in (red, green, blue)])


def lay(canvas: Float, window: tuple[slice, slice], opacity: Float, colour: Float) -> None:
    """Lay ``colour`` over a window of ``canvas``, in place.

    The canvas is ``[H, W, 3]`` and the colour ``[3]`` or ``[h, w, 3]``; or, in grey, ``[H, W]`` and
    ``[h, w]``.
    """
    below = canvas[window]
    opacity = opacity[:, :, None] if canvas.ndim == 3 else opacity
    canvas[window] = below + opacity * (colour - below)
