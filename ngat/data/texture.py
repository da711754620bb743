"""Textures, noise, blur and light of drawn pictures, the same on every platform.

The rule of :mod:`ngat.data.nuclei` holds: exactly rounded operations only, in a fixed order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ngat.data.nuclei import Float, Generator, between, direction


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
    """Lay ``colour`` (``[3]`` or ``[h, w, 3]``) over a window of ``canvas [H, W, 3]``, in place."""
    below = canvas[window]
    canvas[window] = below + opacity[:, :, None] * (colour - below)
