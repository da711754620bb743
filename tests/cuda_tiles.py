"""Time the CUDA engine's kernels on a GPU over tile shapes, against the device's own copy.

    python tests/cuda_tiles.py float32 1024 8        # dtype, side of the level, channels per head

prints, for every tile and relation, each kernel's milliseconds, and forward's and backward's share
of the copy bandwidth: the bytes that must move (every input read once, every output and gradient
written once) over the time, divided by what copying a large tensor reaches on the same device.
"""

import sys
from functools import partial

import torch
import triton
from attention_cases import draw

from ngat.attention import TapGroup
from ngat.engines.cuda import attend as cuda
from ngat.engines.cuda.attend import Tile

TILES = [Tile(r, c, n) for r in (1, 2, 4) for c, n in [(32, 128), (64, 128), (64, 256), (128, 256)]]
RELATIONS = [("king",), ("child",), ("king", "child", "parent")]


def milliseconds(call):
    """Median over a tenth of a second."""
    return triton.testing.do_bench(call, warmup=20, rep=100, return_mode="median")


def copy_bandwidth(nbytes=2**31):
    """Bytes per millisecond, read and written."""
    source = torch.randn(nbytes // 4, device="cuda")
    target = torch.empty_like(source)
    return 2 * nbytes / milliseconds(lambda: target.copy_(source))


def launches(relations, tensors, er):
    """(kernel's name, its launch) of one forward and one backward pass."""
    found = []
    launch = cuda.CudaLevel.launch

    def record(self, kernel, *arguments, **constants):
        name = constants.get("RELATION", kernel.fn.__name__)
        found.append((name, partial(launch, self, kernel, *arguments, **constants)))
        launch(self, kernel, *arguments, **constants)

    cuda.CudaLevel.launch = record
    try:
        out = cuda.CudaAttention.apply(relations, er, *tensors)
        out.backward(torch.randn_like(out))
    finally:
        cuda.CudaLevel.launch = launch
    return found


def main(dtype="float32", side="1024", channels="8", batch="4", heads="4"):
    shape = (int(batch), int(heads), int(channels), int(side), int(side))
    bandwidth = copy_bandwidth()
    print(f"{torch.cuda.get_device_name()}, copy {bandwidth / 1e9:.2f} TB/s, {dtype}, {shape}")
    for relations in RELATIONS:
        groups, er = draw(shape, relations, odd=False, dtype=getattr(torch, dtype))
        groups = [TapGroup(g[0], *(t.cuda() for t in g[1:])) for g in groups]
        er = er.cuda().requires_grad_()
        tensors = [t.requires_grad_() for g in groups for t in g[1:]]
        inputs = sum(t.nbytes for t in [er, *tensors])
        out = groups[0].values[:, :1].element_size() * er.numel() * int(channels)
        for chosen in TILES:
            cuda.tile = lambda width, words, chosen=chosen: chosen
            times = [(name, milliseconds(call)) for name, call in launches(relations, tensors, er)]
            forward, backward = times[0][1], sum(time for _, time in times[1:])
            print(
                f"{'+'.join(relations):18s} rows {chosen.rows} columns {chosen.columns:3d} "
                f"threads {chosen.threads}: forward {(inputs + out) / forward / bandwidth:4.0%}, "
                f"backward {(2 * inputs + out) / backward / bandwidth:4.0%};",
                *(f"{name} {time:.3f}" for name, time in times),
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
