"""Cases that every attention engine is tested on, and how they are drawn."""

import torch

from ngat.attention import TapGroup
from ngat.graph import TAP_COUNT

# (batch, heads, channels per head, height, width): odd and even sides, one node, one head.
SHAPES = [(1, 1, 1, 1, 1), (2, 2, 3, 4, 6), (1, 4, 8, 7, 5), (3, 1, 5, 9, 2), (2, 3, 4, 16, 33)]
GROUPINGS = [("king",), ("child",), ("parent",), ("king", "child"), ("king", "child", "parent")]


def draw(shape, relations, *, odd=True, scale=1.0, dtype=torch.float64, seed=0):
    """Random groups and er for a level; children have an odd number of rows where ``odd``."""
    batch, heads, channels, height, width = shape
    generator = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    sizes = {
        "king": (height, width),
        "child": (2 * height - odd, 2 * width - odd),
        "parent": ((height + 1) // 2, (width + 1) // 2),
    }
    groups = [
        TapGroup(
            relation,
            normal(batch, heads * channels, *sizes[relation]),
            normal(batch, heads, *sizes[relation]) * scale,
            normal(heads, TAP_COUNT[relation]),
        )
        for relation in relations
    ]
    return groups, normal(batch, heads, height, width) * scale


def value_and_gradients(attend, groups, destination, seed=1):
    """Output and the gradients of a random projection of it in every input."""
    leaves = [t.detach().clone().requires_grad_() for g in groups for t in g[1:]]
    er = destination.detach().clone().requires_grad_()
    copies = [TapGroup(g[0], *leaves[3 * n : 3 * n + 3]) for n, g in enumerate(groups)]
    out = attend(copies, er)
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)
    gradients = torch.autograd.grad(
        (out * direction).sum(), [*leaves, er], allow_unused=True, materialize_grads=True
    )
    return out.detach(), gradients
