"""Speed and memory beside other libraries and networks, from the benchmarks' result files."""

from __future__ import annotations

import contextlib

import pandas as pd
import torch

from ngat.benchmark.graph_libraries import build
from ngat.benchmark.layers import BASELINE, LABELS, PASSES, Case
from ngat.benchmark.measure import in_words
from ngat.benchmark.network import INFERENCE, NETWORK_LABELS, STEP, UNET
from ngat.benchmark.report import ratios
from ngat.benchmark.rows import select
from ngat.errors import MissingDependency


def agreement(case: Case) -> pd.DataFrame:
    """How far the layers' outputs and input gradients differ from the reference's.

    Returns:
        engine, and the largest difference of output and gradient as a share of the reference's
        largest value; layers whose package is missing are left out.
    """
    found: dict[str, list[torch.Tensor]] = {}
    names = [name for name in LABELS if name != "compile"]
    for name in sorted(names, key=lambda name: name != "reference"):  # the reference first
        with contextlib.suppress(MissingDependency):
            found[LABELS[name]] = _both_passes(name, case)
    truth = found[LABELS["reference"]]
    rows = []
    for label, vectors in found.items():
        pairs = zip(vectors, truth, strict=True)
        rows.append([label, *(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)])
    return pd.DataFrame(rows, columns=["layer", "output", "gradient"])


def _both_passes(name: str, case: Case) -> list[torch.Tensor]:
    """A layer's outputs and the gradients of its inputs, each as one vector."""
    layer = build(name, case)
    inputs = [x.requires_grad_() for x in layer.lay_out(case.planes())]
    outputs = layer.planes(layer(inputs))
    total = torch.stack([(out**2).sum() for out in outputs]).sum()
    both = outputs, layer.planes(torch.autograd.grad(total, inputs))
    return [torch.cat([plane.detach().flatten() for plane in planes]) for planes in both]


def layer_times(frame: pd.DataFrame, **where: object) -> pd.DataFrame:
    """Times of whole layers with the columns ``ratio`` (to DGL) and ``floor`` (ms).

    Args:
        frame: a benchmark's result file.
        where: further columns and their values; ``allocator="kept"`` if it is not said.
    """
    times = ratios(select(frame, quantity="time_ms", scope="layer"))
    floors = select(frame, quantity="floor_ms", scope="layer")
    keys = ["pass", "side", "batch", "threads", "allocator", "dtype"]
    floor = floors[[*keys, "value"]].rename(columns={"value": "floor"})
    return select(times.merge(floor, on=keys, how="left"), **{"allocator": "kept", **where})


def beside(attention: pd.DataFrame, network: pd.DataFrame) -> pd.DataFrame:
    """How many times the time or memory of ours others take, on the CPU.

    Returns:
        Columns what, beside (another library or network), times.
    """
    found = []
    for scope in ("layer", "typed layer"):
        times = ratios(select(attention, quantity="time_ms", scope=scope, allocator="kept"))
        ours = select(times, engine="cpu", side=256, batch=1)
        for which, threads, ratio in ours[["pass", "threads", "ratio"]].itertuples(index=False):
            what = f"{scope}, 256 × 256, {which}, {in_words(threads)}"
            found.append((what, LABELS[BASELINE], ratio))
        peaks = select(attention, quantity="peak_bytes_per_node", scope=scope)
        peak = peaks.set_index(["engine", "pass"])["value"]
        for which in PASSES:
            if ("cpu", which) in peak and (BASELINE, which) in peak:
                more = peak[BASELINE, which] / peak["cpu", which]
                found.append((f"{scope}, peak memory, {which}", LABELS[BASELINE], more))
    timed = select(network, quantity="time_ms").set_index(["pass", "threads", "engine"])["value"]
    for which in (STEP, INFERENCE):
        for threads in network["threads"].dropna().unique():
            for other in ("dgl", UNET):
                if (which, threads, other) in timed:
                    ratio = timed[which, threads, other] / timed[which, threads, "cpu"]
                    what = f"network, {which}, {in_words(threads)}"
                    found.append((what, NETWORK_LABELS[other], ratio))
    return pd.DataFrame(found, columns=["what", "beside", "times"])


def unet_2015() -> int:
    """Parameters of the U-Net of Ronneberger et al. 2015, counted from their figure 1.

    Five stages of two 3 × 3 convolutions with 64 … 1024 channels, 2 × 2 up-convolutions that halve
    the channels, the same stages upwards on twice the channels, a 1 × 1 map. All with biases,
    from three channels to two.
    """

    widths = (64, 128, 256, 512, 1024)
    kernels = [(1, 64, 2)]  # side, channels that come in and that go out
    for before, width in zip((3, *widths), widths, strict=False):
        kernels += [(3, before, width), (3, width, width)]
    for width in widths[:-1]:
        kernels += [(2, 2 * width, width), (3, 2 * width, width), (3, width, width)]
    return sum(side * side * channels * made + made for side, channels, made in kernels)


def parameters(network: pd.DataFrame) -> pd.DataFrame:
    """Parameters and multiply-adds per pixel of the networks that were measured, and of U-Nets."""
    counts = select(network, quantity="parameters").set_index("engine")["value"]
    work = select(network, quantity="multiply_adds_per_pixel").set_index("engine")["value"]
    # Parameters are the network's, whatever engine runs it.
    names = {**NETWORK_LABELS, "cpu": "companion"}
    rows = [[names[name], n, work.get(name)] for name, n in counts.items()]
    rows.append(["U-Net of Ronneberger et al. 2015", unet_2015(), None])
    if UNET in counts:
        rows.append(["32 networks of BasicUNet's size", 32 * counts[UNET], 32 * work[UNET]])
    table = pd.DataFrame(rows, columns=["network", "parameters", "multiply-adds a pixel"])
    return table.astype({"parameters": int})
