"""Do engines agree with the reference? One level's attention on random numbers, and gradients.

``python -m ngat.engines.agreement`` asks it of the CUDA engine where it is to run. The test suite
asks more, and needs pytest; this needs nothing. It ends with 1 and a sentence for every case that
disagrees. Tolerances are relative to a tensor's largest entry; the reference computes in float64.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ngat.attention import TapGroup, attend
from ngat.graph import TAP_COUNT, Relation

RELATIONS: tuple[tuple[Relation, ...], ...] = (
    ("king",),
    ("child",),
    ("king", "child", "parent"),
)
# Batch, heads, channels a head, height, width: odd sides, and as large as a level of training.
SHAPES = ((1, 2, 3, 9, 21), (2, 4, 8, 157, 203))
TOLERANCES = {torch.float64: 1e-11, torch.float32: 2e-5, torch.bfloat16: 2**-7 + 1e-5}


def case(
    shape: Sequence[int],
    relations: Sequence[Relation],
    device: torch.device | str = "cpu",
    below: tuple[int, int] | None = None,
    seed: int = 0,
) -> tuple[list[TapGroup], Tensor]:
    """Random groups and er, in float64.

    Args:
        shape: batch, heads, channels a head, height, width.
        below: size of the children's level; by default it has odd numbers of rows and columns.
    """
    batch, heads, channels, height, width = shape
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(device)

    sizes = {
        "king": (height, width),
        "child": below or (2 * height - 1, 2 * width - 1),
        "parent": ((height + 1) // 2, (width + 1) // 2),
    }
    groups = [
        TapGroup(
            relation,
            normal(batch, heads * channels, *sizes[relation]),
            normal(batch, heads, *sizes[relation]),
            normal(heads, TAP_COUNT[relation]),
        )
        for relation in relations
    ]
    return groups, normal(batch, heads, height, width)


def converted(
    groups: Sequence[TapGroup], er: Tensor, dtype: torch.dtype
) -> tuple[list[TapGroup], Tensor]:
    """The same numbers in another type."""
    return [TapGroup(g[0], *(t.to(dtype) for t in g[1:])) for g in groups], er.to(dtype)


def results(groups: Sequence[TapGroup], er: Tensor, engine: str) -> list[Tensor]:
    """The output, and the gradients in all inputs of a weighted sum of it."""
    leaves = [t.detach().clone().requires_grad_() for g in groups for t in g[1:]]
    destination = er.detach().clone().requires_grad_()
    copies = [TapGroup(g[0], *leaves[3 * n : 3 * n + 3]) for n, g in enumerate(groups)]
    out = attend(copies, destination, engine)
    # Weights that are the same for all engines; a plain sum would hide errors that cancel.
    weights = torch.linspace(-1, 1, out.numel(), device=out.device).view(out.shape).to(out.dtype)
    inputs = [*leaves, destination]
    return [out.detach(), *torch.autograd.grad(out, inputs, weights, materialize_grads=True)]


def disagreements(
    device: torch.device, shapes: Sequence[Sequence[int]], dtypes: Sequence[torch.dtype]
) -> Iterator[str]:
    """A sentence for every case in which the engine differs from the reference."""
    for shape in shapes:
        for relations in RELATIONS:
            groups, er = case(shape, relations, device)
            named = "+".join(relations)
            for dtype in dtypes:
                short = converted(groups, er, dtype)
                found = results(*short, "cuda")
                expected = results(*converted(*short, torch.float64), "reference")
                for n, (one, other) in enumerate(zip(found, expected, strict=True)):
                    scale = max(1.0, float(other.abs().max()))
                    error = float((one.double() - other).abs().max()) / scale
                    if not error <= TOLERANCES[dtype]:
                        what = "value" if n == 0 else f"gradient {n}"
                        yield f"{what} of {named}, {tuple(shape)}, {dtype}: off by {error:.1e}"
            if not _borders_agree(groups, er):
                yield f"NaN spreads to others than its neighbours: {named}, {tuple(shape)}"


def _borders_agree(groups: Sequence[TapGroup], er: Tensor) -> bool:
    """Taps beyond the border are read somewhere inside; what lies there must not count."""
    corner = groups[0].values.clone()
    corner[..., 0, 0] = torch.nan
    spoilt = [groups[0]._replace(values=corner), *groups[1:]]
    found, expected = (attend(spoilt, er, engine).isnan() for engine in ("cuda", "reference"))
    return bool(torch.equal(found, expected))


def main() -> None:
    """Compare on a device, all cases or a few."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--few", action="store_true", help="one size, in float32")
    chosen = parser.parse_args()
    shapes = SHAPES[:1] if chosen.few else SHAPES
    dtypes = [torch.float32] if chosen.few else [*TOLERANCES]
    wrong = list(disagreements(torch.device(chosen.device), shapes, dtypes))
    print("\n".join(wrong) or "The kernels agree with the reference.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
