"""How patches look, changed at random on the device: :mod:`ngat.training.augment` by the batch.

Stain, lost colour, merged channels, intensity, inversion, fewer pixels, blur and both kinds of
noise, with the probabilities and strengths of :class:`ngat.training.augment.AugmentConfig`.
Compression as JPEG is missing: its codec works on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from skimage.color import hed_from_rgb, rgb_from_hed
from torch import Tensor

from ngat.training.appearance import EDGE, GRAIN, INSIDE, LARGE, OUTSIDE, UNEVENNESS, coarse
from ngat.training.augment import AugmentConfig

COLOURED = 0.02  # a channel that differs by more makes a picture coloured


@dataclass(frozen=True)
class Chance:
    """Random numbers of a batch, drawn on the device: uniform and normal ones."""

    generator: torch.Generator
    count: int

    def uniform(self, low: float = 0.0, high: float = 1.0, *shape: int) -> Tensor:
        """Numbers between two bounds, ``[B, *shape]``."""
        size = (self.count, *shape)
        values = torch.rand(size, generator=self.generator, device=self.generator.device)
        return low + (high - low) * values

    def normal(self, *shape: int) -> Tensor:
        """Normal numbers, ``[B, *shape]``."""
        size = (self.count, *shape)
        return torch.randn(size, generator=self.generator, device=self.generator.device)

    def happens(self, probability: float) -> Tensor:
        """Which pictures something happens to, ``bool [B]``."""
        return self.uniform() < probability


def appearance(view: Tensor, generator: torch.Generator, config: AugmentConfig) -> Tensor:
    """Change how a batch looks.

    Args:
        view: ``float32 [B, 3, S, S]`` in [0, 1].
        generator: source of all chance, on the same device.
        config: operations and strengths.

    Returns:
        ``float32 [B, 3, S, S]`` in [0, 1].
    """
    chance = Chance(generator, len(view))
    coloured = (view.amax(1) - view.amin(1)).amax((1, 2)) > COLOURED
    grey = coloured & chance.happens(config.grey)
    lost = view.mean(1, keepdim=True).expand_as(view)
    view = where(grey, 1 - lost if config.positive else lost, view)
    dark = (~coloured | grey) & config.positive  # and stays so
    if config.stain:
        stained = coloured & ~grey & chance.happens(config.stain)
        view = where(stained, stain(view, *mixtures(chance, config)), view)
    if config.merge:
        merging = ~coloured & chance.happens(config.merge)
        view, dark = where(merging, merged(view, chance), view), dark & ~merging
    if config.intensity:
        changed = intensity(
            view,
            config.gain ** chance.uniform(-1, 1),
            chance.uniform(-config.offset, config.offset),
            config.gamma ** chance.uniform(-1, 1),
        )
        view = where(chance.happens(config.intensity), changed, view)
    view = where(chance.happens(config.invert) & ~dark, 1 - view, view)
    if config.coarse:
        side = view.shape[-1]
        fewer = (side / config.reduction ** chance.uniform()).round().long().clamp(min=1)
        axis = _coarse_axes(side, config.reduction, view.device)[fewer - 1][:, None]
        seen = axis @ view @ axis.mT
        view = where(chance.happens(config.coarse), seen, view)
    if config.blur:
        sigma = chance.uniform(0.0, config.sigma) * chance.happens(config.blur)
        view = blurred(view, sigma, truncate=3.0)
    if config.noise:
        low, high = percent_range(view)
        strength = chance.uniform(0.0, config.grain) * (high - low) * chance.happens(config.noise)
        # A grey camera has one noise, a colour camera three.
        noise = chance.normal(*view.shape[1:])
        noise = where(coloured, noise, noise[:, :1].expand_as(noise))
        view = view + strength[:, None, None, None] * noise
    if config.photons:
        noisy = counted(view, config.counts * 16 ** chance.uniform(), generator)
        view = where(chance.happens(config.photons), noisy, view)
    return view.clamp(0, 1)


def textured(
    view: Tensor, nuclei: Tensor, size: Tensor, generator: torch.Generator, config: AugmentConfig
) -> Tensor:
    """Grains in the large nuclei of a batch and on its background, as on the CPU.

    Args:
        view: ``float32 [B, 3, S, S]`` in [0, 1].
        nuclei: ``bool [B, S, S]``.
        size: √area of a nucleus in pixels, ``[B]``.
        generator: source of all chance, on the same device.
        config: how often.

    Returns:
        ``float32 [B, 3, S, S]`` in [0, 1].
    """
    if not config.texture:
        return view
    chance = Chance(generator, len(view))

    def relief(low: float, high: float) -> Tensor:
        noise = blurred(chance.normal(1, *view.shape[2:]), size * chance.uniform(low, high))
        noise = noise - noise.mean((1, 2, 3), keepdim=True)
        return noise / noise.std((1, 2, 3), correction=0, keepdim=True).clamp(min=1e-6)

    def strength(most: float) -> Tensor:
        return chance.uniform(0, most)[:, None, None, None]

    mask = nuclei[:, None].to(view.dtype)
    grains, uneven = relief(*GRAIN), relief(*UNEVENNESS).clamp(min=0)
    grains = where(chance.happens(0.5), grains.clamp(min=0), grains)
    inside = blurred(mask, EDGE * size)
    relative = strength(INSIDE) * inside * grains
    relative = relative + strength(OUTSIDE) * (1 - inside) * uneven
    share = mask.mean((2, 3), keepdim=True)
    mean = view.mean((2, 3), keepdim=True)
    within = (view * mask).mean((2, 3), keepdim=True)
    contrast = within / share.clamp(min=1e-6) - (mean - within) / (1 - share).clamp(min=1e-6)
    contrast = torch.where((share > 0) & (share < 1), contrast, 0.5 * mean)
    chosen = chance.happens(config.texture) & (size > LARGE)
    return where(chosen, (view + contrast * relative).clamp(0, 1), view)


@lru_cache(maxsize=2)
def _coarse_axes(side: int, reduction: float, device: torch.device) -> Tensor:
    """:func:`coarse` of any number of pixels that may be drawn, less one: ``[S, S, S]``."""
    least = max(1, round(side / reduction))
    axes = [coarse(side, max(fewer, least)) for fewer in range(1, side + 1)]
    return torch.from_numpy(np.stack(axes)).to(device)


def where(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Pictures of ``one`` where ``chosen`` ``[B]`` says so, else of ``other``."""
    return torch.where(chosen[:, None, None, None], one, other)


def percent_range(view: Tensor) -> tuple[Tensor, Tensor]:
    """Grey levels that all but one percent lie above and below, from every 16th pixel, ``[B]``."""
    few = view[:, :, ::4, ::4].flatten(1)
    low, high = torch.quantile(few, few.new_tensor([0.01, 0.99]), dim=1)
    return low, high


def intensity(view: Tensor, gain: Tensor, offset: Tensor, gamma: Tensor) -> Tensor:
    """Gain, offset and gamma, held back where they would wash out more than a percent.

    Args:
        view: ``[B, 3, S, S]``.
        gain, offset, gamma: ``[B]``.
    """
    low, high = percent_range(view)
    held = torch.minimum(gain, 1 / high.clamp(min=1e-3)).clamp(min=1.0)
    gain = torch.where(gain > 1, held, gain)
    offset = torch.maximum(offset, -gain * low)
    offset = torch.minimum(offset, (1 - gain * high).clamp(min=0))
    top = (gain * high + offset).clamp(min=1e-3)
    gain, offset, gamma, top = (t[:, None, None, None] for t in (gain, offset, gamma, top))
    # Relative to the picture's own top, so that gamma does not darken dim pictures twice.
    return (((view * gain + offset).clamp(min=0) / top) ** gamma) * top


def mixtures(chance: Chance, config: AugmentConfig) -> tuple[Tensor, Tensor]:
    """Random amounts of the dyes and shares of the channels, for :func:`stain`."""
    device = chance.generator.device
    to_dyes, to_colours = (
        torch.as_tensor(np.asarray(m), dtype=torch.float32, device=device)
        for m in (hed_from_rgb, rgb_from_hed)
    )
    amounts = torch.diag_embed(1 + chance.uniform(-config.dye, config.dye, 3))
    share = chance.uniform(0.0, config.hue, 3, 3)
    share = share * (1 - torch.eye(3, device=device))
    share = share + torch.diag_embed(1 - share.sum(1))  # grey stays grey
    return to_dyes @ amounts @ to_colours, share


def stain(view: Tensor, mixing: Tensor, share: Tensor) -> Tensor:
    """Other amounts of each dye, then a little of each colour channel in the others.

    Args:
        view: ``[B, 3, S, S]``.
        mixing: of optical densities, ``[B, 3, 3]``.
        share: of the channels, ``[B, 3, 3]``.
    """
    density = -view.clamp(min=1 / 255).log()
    dyed = torch.exp(-torch.einsum("bchw,bcd->bdhw", density, mixing))
    return torch.einsum("bchw,bcd->bdhw", dyed.clamp(max=1.0), share)


def merged(view: Tensor, chance: Chance) -> Tensor:
    """Grey pictures as one channel of three; the others show their surroundings, or nothing."""
    nuclei = view[:, :1]
    planes = []
    for _ in range(2):
        body = blurred(nuclei, chance.uniform(2.0, 8.0))
        relief = blurred(chance.normal(*nuclei.shape[1:]), chance.uniform(2.0, 12.0))
        deviation = relief.std((1, 2, 3), correction=0).clamp(min=1e-6)
        strength = chance.uniform(0.0, 0.4) / deviation
        plane = body * chance.uniform(0.3, 1.5)[:, None, None, None]
        plane = (plane + relief * strength[:, None, None, None]).clamp(0, 1)
        planes.append(where(chance.happens(0.5), torch.zeros_like(plane), plane))
    place = (3 * chance.uniform()).long().clamp(max=2)
    orders = torch.tensor([[0, 1, 2], [1, 0, 2], [1, 2, 0]], device=view.device)
    three = torch.cat([nuclei, *planes], dim=1)
    return three.gather(1, orders[place][:, :, None, None].expand_as(three))


def counted(view: Tensor, counts: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures with photon noise, stretched back to at most 1 but for the brightest percent.

    Args:
        view: ``[B, 3, S, S]``.
        counts: photons that a pixel of value 1 counts on average, ``[B]``.
        generator: on the same device.
    """
    grey = (view.amax(1) - view.amin(1)).amax((1, 2)) < COLOURED
    noisy = torch.poisson(view.clamp(0, 1) * counts[:, None, None, None], generator)
    noisy = where(grey, noisy[:, :1].expand_as(noisy), noisy)
    _, high = percent_range(noisy)
    return noisy / torch.maximum(counts, high)[:, None, None, None]


def blurred(view: Tensor, sigma: Tensor, truncate: float = 4.0) -> Tensor:
    """Gaussian filter with an own standard deviation for every picture; edges are reflected.

    Args:
        view: ``[B, C, S, S]``.
        sigma: in pixels, 0 for none, ``[B]``.
        truncate: where the filter ends, in standard deviations.
    """
    rows, columns = (gaussian(side, sigma, truncate) for side in view.shape[-2:])
    return torch.matmul(torch.matmul(rows[:, None], view), columns[:, None].transpose(-1, -2))


def gaussian(side: int, sigma: Tensor, truncate: float) -> Tensor:
    """The filter of one axis as matrices ``[B, side, side]``; edges are reflected."""
    radius = (truncate * sigma + 0.5).floor()
    offsets = torch.arange(-side, side + 1, device=sigma.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = torch.where(offsets.abs() <= radius[:, None], kernel, 0.0)
    kernel = kernel / kernel.sum(1, keepdim=True)
    at = (torch.arange(side, device=sigma.device)[:, None] + offsets) % (2 * side)
    at = torch.minimum(at, 2 * side - 1 - at)
    matrix = kernel.new_zeros(len(sigma), side, side)
    return matrix.scatter_add_(
        2, at.expand(len(sigma), -1, -1), kernel[:, None].expand(-1, side, -1)
    )
