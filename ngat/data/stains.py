"""Five painters, one per type: each draws a picture and its labels from a random stream.

The models are the five types of the 2018 Data Science Bowl at half their resolution. All pictures
are ``float64 [H, W, 3]`` in grey levels, all labels ``int32 [H, W]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ngat.data import nuclei as draw
from ngat.data.nuclei import Float, Generator, Law, between, blur, dye, grain, lay, relief, uneven

Picture = tuple[Float, npt.NDArray[np.int32]]


def _count(rng: Generator, height: int, width: int, low: int, high: int) -> int:
    """Nuclei for a picture of this area, from a range that is given per 128 x 128 pixels."""
    share = between(rng, low, high + 1) * height * width / (128 * 128)
    return max(1, int(share))


@dataclass(frozen=True)
class Glow:
    """How fluorescent nuclei shine, relative to an exposure in grey levels."""

    exposure: tuple[float, float]
    spread: float  # the faintest nucleus is 1 - spread as bright as the brightest
    texture: float  # depth of the chromatin's texture
    cell: float  # size of its grains in pixels
    veil: float  # strength of the unfocused light that lies over part of a picture
    hazes: int  # nuclei out of focus


def _fluorescent(rng: Generator, height: int, width: int, law: Law, glow: Glow) -> Picture:
    """Fluorescence on a dark background: nuclei, haze, scatter, uneven field, shot noise."""
    labels, placed = draw.pack(rng, height, width, law)
    light = np.zeros((height, width))
    # Nuclei out of focus: seen as haze, annotated by no one.
    for _ in range(glow.hazes):
        row, column = between(rng, 0.0, height), between(rng, 0.0, width)
        ghost = draw.place(draw.draw_shape(rng, law, row, column), height, width, margin=12.0)
        haze = ghost.coverage(ghost.radius * 1.5)
        light[ghost.window] += haze * haze * between(rng, 0.03, 0.14)
    for nucleus in reversed(placed):
        h, w = nucleus.depth.shape
        # Thicker in the middle: neighbours that touch are told apart by the darker seam.
        dome = np.sqrt(np.clip(nucleus.depth / (0.6 * nucleus.radius), 0.0, 1.0))
        chromatin = relief(rng, h, w, glow.cell) + 0.5 * relief(rng, h, w, glow.cell * 0.5)
        gain = between(rng, 1.0 - glow.spread, 1.0)
        if float(rng.random()) < 0.04:
            gain = gain * between(rng, 1.8, 3.0)  # condensed chromatin of a dividing cell
        bright = gain * (0.62 + 0.38 * dome) * (1.0 + glow.texture * (chromatin - 0.75))
        lay(light, nucleus.window, nucleus.coverage(), np.maximum(bright, 0.05))
    if float(rng.random()) < 0.6:
        light = blur(light, 1, 1)
    light = light + 0.05 * blur(light, 9)  # scatter: a wide, faint copy of the picture
    # One threshold cannot serve a picture whose background is here brighter than its nuclei there.
    veil = np.clip(
        2.0 * relief(rng, height, width, 45.0, along=draw.direction(rng)) - 0.6, 0.0, 1.0
    )
    strength = between(rng, 0.0, 1.0)
    light = light + glow.veil * strength * strength * blur(veil, 8)
    exposure, ground = between(rng, *glow.exposure), between(rng, 3.0, 16.0)
    grey = (ground + exposure * light) * uneven(rng, height, width, between(rng, 0.1, 0.5))
    shot = between(rng, 0.1, 0.35) * np.sqrt(np.maximum(grey, 0.0))
    grey = grey + grain(rng, height, width) * (between(rng, 0.6, 1.6) + shot)
    return np.repeat(grey[:, :, None], 3, axis=2), labels


def small_fluorescent(rng: Generator, height: int, width: int) -> Picture:
    """Many small bright nuclei: loose ovals, granular round cells in clumps, or crowded tissue."""
    kind = float(rng.random())
    if kind < 0.45:
        count = _count(rng, height, width, 8, 22)
        law = Law(count, (5.0, 8.5), (1.1, 1.9), ripple=0.04, bend=0.15, touching=0.3)
        glow = Glow((45.0, 170.0), 0.65, 0.35, 3.0, 0.5, int(rng.integers(0, 3)))
    elif kind < 0.75:
        count = _count(rng, height, width, 6, 30)
        law = Law(count, (3.2, 5.5), (1.0, 1.35), ripple=0.05, bend=0.05, touching=0.6)
        glow = Glow((70.0, 210.0), 0.6, 0.7, 2.2, 0.4, int(rng.integers(0, 2)))
    else:
        count = _count(rng, height, width, 28, 46)
        law = Law(count, (4.5, 7.5), (1.0, 1.8), ripple=0.06, bend=0.25, touching=0.65, gap=1.5)
        glow = Glow((80.0, 200.0), 0.75, 0.6, 3.0, 0.6, int(rng.integers(4, 12)))
    return _fluorescent(rng, height, width, law, glow)


def large_fluorescent(rng: Generator, height: int, width: int) -> Picture:
    """Few large, dim, textured nuclei, some touching."""
    count = _count(rng, height, width, 4, 8)
    law = Law(count, (12.0, 18.0), (1.1, 1.7), ripple=0.05, bend=0.2, touching=0.45, min_area=60)
    glow = Glow((30.0, 95.0), 0.5, 0.4, 5.0, 0.5, int(rng.integers(0, 2)))
    return _fluorescent(rng, height, width, law, glow)


def _fibres(rng: Generator, height: int, width: int) -> Float:
    """Stroma: wavy streaks that run along one direction, in [0, 1)."""
    along = draw.direction(rng)
    wave = 22.0 * relief(rng, height, width, 26.0) + 6.0 * relief(rng, height, width, 11.0)
    coarse = relief(rng, height, width, 7.0, 4.0, along, wave)
    fine = relief(rng, height, width, 2.5, 6.0, along, wave)
    return 0.6 * coarse + 0.4 * fine


def _chromatin(rng: Generator, nucleus: draw.Nucleus) -> Float:
    """Coarse and fine grains over a nucleus' window, in [0, 1)."""
    h, w = nucleus.depth.shape
    return 0.6 * relief(rng, h, w, 4.0) + 0.4 * relief(rng, h, w, 2.0)


@dataclass(frozen=True)
class Stain:
    """A nucleus in transmitted light: its dye and how the dye is spread in it."""

    colour: Float
    opacity: tuple[float, float]  # range over the nuclei of one picture
    mottle: tuple[float, float]  # loss of opacity where chromatin is thin
    rim: float  # gain of opacity along the membrane
    softness: tuple[float, float]  # width of the edge in pixels


def _dyed(rng: Generator, canvas: Float, placed: list[draw.Nucleus], stain: Stain) -> None:
    """Stain the placed nuclei, those beneath first."""
    for nucleus in reversed(placed):
        chromatin = _chromatin(rng, nucleus)
        edge = np.clip(1.0 - np.maximum(nucleus.depth - 0.5, 0.0) / 2.0, 0.0, 1.0)
        thin = between(rng, *stain.mottle) * chromatin
        opacity = between(rng, *stain.opacity) * (1.0 - thin) + stain.rim * edge
        cover = nucleus.coverage(between(rng, *stain.softness))
        lay(canvas, nucleus.window, cover * np.clip(opacity, 0.0, 1.0), stain.colour)


def _bodies(
    rng: Generator, canvas: Float, placed: list[draw.Nucleus], colour: Float, strength: float
) -> None:
    """Stained cytoplasm around some of the nuclei, a few pixels wide."""
    for nucleus in placed:
        width, lean = between(rng, 1.5, 5.0), between(rng, 0.0, 1.0)
        body = np.clip((nucleus.depth + width) / 2.0, 0.0, 1.0)
        lay(canvas, nucleus.window, strength * lean * body, colour)


def _ghosts(
    rng: Generator, canvas: Float, law: Law, colour: Float, count: int, strength: float
) -> None:
    """Blurred shapes that lie out of focus and that no one annotates."""
    height, width = canvas.shape[:2]
    for _ in range(count):
        row, column = between(rng, 0.0, height), between(rng, 0.0, width)
        ghost = draw.place(draw.draw_shape(rng, law, row, column), height, width, margin=8.0)
        cover = ghost.coverage(ghost.radius * 0.9)
        lay(canvas, ghost.window, cover * between(rng, 0.3, 1.0) * strength, colour)


def _photograph(rng: Generator, canvas: Float, haze: int, noise: float) -> Float:
    """Blur, uneven light and sensor noise of a bright-field camera."""
    height, width = canvas.shape[:2]
    canvas = blur(canvas, haze, 1)
    light = uneven(rng, height, width, between(rng, 0.04, 0.3))
    return canvas * light[:, :, None] + noise * grain(rng, *canvas.shape)


def purple_tissue(rng: Generator, height: int, width: int) -> Picture:
    """Purple nuclei on lavender stroma, on a white smear, or blue-black on cream."""
    kind = float(rng.random())
    canvas = np.empty((height, width, 3))
    fibres = _fibres(rng, height, width)
    if kind < 0.5:  # violet on lavender, cells in strands of stroma
        canvas[:] = dye(rng, 182.0, 164.0, 208.0, 7.0)
        stroma = np.clip(2.2 * relief(rng, height, width, 40.0) - 0.5, 0.15, 1.0)
        lay(canvas, np.s_[:, :], stroma * fibres, dye(rng, 122.0, 88.0, 184.0, 8.0))
        count = _count(rng, height, width, 7, 24)
        law = Law(count, (5.5, 11.0), (1.1, 2.2), ripple=0.05, bend=0.2, touching=0.45, min_area=20)
        colour = dye(rng, 84.0, 30.0, 178.0, 12.0)
        _ghosts(rng, canvas, law, colour, int(rng.integers(1, 5)), 0.35)
        body, strength = dye(rng, 146.0, 116.0, 194.0, 8.0), 0.8
        stain = Stain(colour, (0.65, 1.0), (0.2, 0.75), 0.25, (1.0, 3.0))
    elif kind < 0.78:  # smear
        canvas[:] = dye(rng, 226.0, 230.0, 226.0, 8.0)
        lay(canvas, np.s_[:, :], 0.15 * fibres, dye(rng, 200.0, 170.0, 205.0, 10.0))
        count = _count(rng, height, width, 18, 34)
        law = Law(count, (4.5, 7.0), (1.0, 1.4), ripple=0.1, bend=0.2, touching=0.65)
        body, strength = dye(rng, 186.0, 116.0, 190.0, 12.0), 1.0
        _ghosts(rng, canvas, law, body, 12, 0.8)
        stain = Stain(dye(rng, 105.0, 22.0, 115.0, 15.0), (0.6, 1.0), (0.2, 0.8), 0.0, (1.0, 2.5))
    else:  # blue-black on cream
        canvas[:] = dye(rng, 226.0, 230.0, 206.0, 8.0)
        lay(canvas, np.s_[:, :], 0.5 * fibres * fibres, dye(rng, 196.0, 200.0, 172.0, 8.0))
        count = _count(rng, height, width, 9, 26)
        law = Law(count, (3.8, 6.8), (1.2, 2.8), ripple=0.05, bend=0.25, touching=0.4)
        _ghosts(rng, canvas, law, dye(rng, 170.0, 190.0, 60.0, 15.0), int(rng.integers(0, 5)), 0.8)
        body, strength = dye(rng, 166.0, 158.0, 184.0, 8.0), 0.6
        stain = Stain(dye(rng, 48.0, 36.0, 108.0, 12.0), (0.55, 1.0), (0.1, 0.5), 0.1, (1.0, 2.0))
    labels, placed = draw.pack(rng, height, width, law)
    _bodies(rng, canvas, placed, body, strength)
    _dyed(rng, canvas, placed, stain)
    return _photograph(rng, canvas, int(rng.integers(0, 2)), between(rng, 1.5, 4.0)), labels


def pink_and_purple_tissue(rng: Generator, height: int, width: int) -> Picture:
    """Crowded purple nuclei of weak contrast in pink stroma with white gaps and red bands."""
    canvas = np.full((height, width, 3), dye(rng, 222.0, 156.0, 206.0, 12.0))
    fibres = _fibres(rng, height, width)
    lay(canvas, np.s_[:, :], 0.75 * fibres, dye(rng, 190.0, 92.0, 170.0, 12.0))
    clouds = relief(rng, height, width, 22.0)
    lay(canvas, np.s_[:, :], 0.5 * clouds * clouds, dye(rng, 168.0, 92.0, 178.0, 10.0))
    # Gaps in the tissue let the lamp through: white, though nothing is stained less than a nucleus.
    gaps = np.clip((relief(rng, height, width, 26.0) - 0.76) * 9.0, 0.0, 1.0)
    lay(canvas, np.s_[:, :], 0.85 * gaps, dye(rng, 238.0, 226.0, 238.0, 6.0))
    if float(rng.random()) < 0.4:  # a vessel full of red cells
        c, s = draw.direction(rng)
        y = np.arange(height, dtype=np.float64)[:, None] - between(rng, 0.2, 0.8) * height
        x = np.arange(width, dtype=np.float64)[None, :] - between(rng, 0.2, 0.8) * width
        winding = 16.0 * (relief(rng, height, width, 34.0) - 0.5)
        across = y * c - x * s + winding
        inside = np.clip(between(rng, 7.0, 14.0) - np.sqrt(across * across), 0.0, 1.0)
        red = dye(rng, 222.0, 36.0, 90.0, 12.0)
        cells = (0.25 * relief(rng, height, width, 6.0))[:, :, None]
        lay(canvas, np.s_[:, :], inside, red + cells * (235.0 - red))
    count = _count(rng, height, width, 9, 20)
    law = Law(count, (6.0, 10.5), (1.1, 2.0), ripple=0.07, bend=0.25, touching=0.55, min_area=24)
    colour = dye(rng, 104.0, 34.0, 134.0, 12.0)
    _ghosts(rng, canvas, law, colour, int(rng.integers(2, 6)), 0.4)
    labels, placed = draw.pack(rng, height, width, law)
    for nucleus in placed:  # fixation shrinks some nuclei and leaves a pale halo
        if float(rng.random()) < 0.3:
            halo = np.clip((nucleus.depth + 3.5) / 2.0, 0.0, 1.0)
            lay(canvas, nucleus.window, 0.6 * halo, np.array([236.0, 200.0, 230.0]))
    _dyed(rng, canvas, placed, Stain(colour, (0.45, 1.0), (0.2, 0.75), 0.25, (1.0, 3.0)))
    return _photograph(rng, canvas, int(rng.integers(0, 2)), between(rng, 3.0, 6.0)), labels


def grayscale_tissue(rng: Generator, height: int, width: int) -> Picture:
    """Small dark nuclei in grey, folded, overlapping cell bodies on a bright noisy background."""
    grey = np.full((height, width), between(rng, 218.0, 238.0))
    bodies = Law(1, (20.0, 36.0), (1.0, 1.8), ripple=0.2, bend=0.4)
    count = _count(rng, height, width, 9, 18)
    law = Law(count, (4.0, 6.6), (1.0, 1.6), ripple=0.05, bend=0.15, touching=0.35, gap=3.0)
    labels, placed = draw.pack(rng, height, width, law)
    for nucleus in placed:
        if float(rng.random()) < 0.5:
            continue  # its body lies under another's
        row = nucleus.shape.row + between(rng, -8.0, 8.0)
        column = nucleus.shape.column + between(rng, -8.0, 8.0)
        body = draw.place(draw.draw_shape(rng, bodies, row, column), height, width)
        h, w = body.depth.shape
        folds = relief(rng, h, w, 5.0, 5.0, draw.direction(rng))
        # Folds darken where the relief crosses its middle: thin lines, as in a creased sheet.
        crease = np.clip(1.0 - 14.0 * np.sqrt((folds - 0.5) * (folds - 0.5)), 0.0, 1.0)
        margin = np.clip(1.0 - np.maximum(body.depth, 0.0) / 2.0, 0.0, 1.0)
        shade = between(rng, 0.1, 0.3) * (0.8 + 0.4 * folds) + 0.08 * crease + 0.08 * margin
        grey[body.window] *= 1.0 - body.coverage(1.2) * shade
    for _ in range(_count(rng, height, width, 4, 30)):  # granules, far too small for nuclei
        row, column = between(rng, 0.0, height), between(rng, 0.0, width)
        speck = draw.Outline(row, column, 0.9, 0.8, 1.0, 0.0, 0.0, (0.0,) * 8)
        granule = draw.place(speck, height, width, margin=2.0)
        grey[granule.window] *= 1.0 - 0.5 * between(rng, 0.3, 1.0) * granule.coverage()
    for nucleus in reversed(placed):
        chromatin = _chromatin(rng, nucleus)
        dark = between(rng, 45.0, 105.0) + 45.0 * (chromatin - 0.5)
        edge = np.clip(1.0 - np.maximum(nucleus.depth - 0.5, 0.0) / 2.0, 0.0, 1.0)
        cover = nucleus.coverage(between(rng, 1.0, 2.0))
        lay(grey, nucleus.window, cover, np.minimum(dark - 18.0 * edge, grey[nucleus.window]))
    grey = blur(grey, int(rng.integers(0, 2)), 1)
    grey = grey * uneven(rng, height, width, between(rng, 0.03, 0.15))
    grey = grey + between(rng, 3.0, 8.0) * grain(rng, height, width)
    return np.repeat(grey[:, :, None], 3, axis=2), labels


# In the order of ngat.data.TYPES.
PAINTERS: dict[str, Callable[[Generator, int, int], Picture]] = {
    "small_fluorescent": small_fluorescent,
    "purple_tissue": purple_tissue,
    "pink_and_purple_tissue": pink_and_purple_tissue,
    "large_fluorescent": large_fluorescent,
    "grayscale_tissue": grayscale_tissue,
}
