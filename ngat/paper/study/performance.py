"""Speed and memory beside other libraries and networks, from the benchmarks' result files."""

from __future__ import annotations

import pandas as pd
import torch

from ngat.benchmark.floor import PASSES
from ngat.benchmark.graph_libraries import build
from ngat.benchmark.layers import BASELINE, LABELS, Case
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
    found: dict[str, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
    names = ["reference", *(name for name in LABELS if name not in ("reference", "compile"))]
    for name in names:
        try:
            layer = build(name, case)
            inputs = [x.requires_grad_() for x in layer.lay_out(case.planes())]
            outputs = layer.planes(layer(inputs))
        except MissingDependency:
            continue
        total = torch.stack([(out**2).sum() for out in outputs]).sum()
        gradients = layer.planes(torch.autograd.grad(total, inputs))
        found[name] = ([out.detach() for out in outputs], gradients)

    def difference(name: str, part: int) -> float:
        pairs = [*zip(found[name][part], found["reference"][part], strict=True)]
        scale = max(float(truth.abs().max()) for _, truth in pairs)
        shaped = [(value.reshape(truth.shape), truth) for value, truth in pairs]
        return max(float((value - truth).abs().max()) for value, truth in shaped) / scale

    return pd.DataFrame(
        [[LABELS[name], difference(name, 0), difference(name, 1)] for name in found],
        columns=["layer", "output", "gradient"],
    )


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
        for row in ours.rename(columns={"pass": "which"}).itertuples():
            what = f"{scope}, 256 × 256, {row.which}, {in_words(row.threads)}"
            found.append((what, LABELS[BASELINE], row.ratio))
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

    def convolution(side: int, channels: int, made: int) -> int:
        return side * side * channels * made + made

    widths = (64, 128, 256, 512, 1024)
    total = 0
    for before, width in zip((3, *widths[:-1]), widths, strict=True):
        total += convolution(3, before, width) + convolution(3, width, width)
    for width in reversed(widths[:-1]):
        total += convolution(2, 2 * width, width)
        total += convolution(3, 2 * width, width) + convolution(3, width, width)
    return total + convolution(1, widths[0], 2)


def parameters(network: pd.DataFrame) -> pd.DataFrame:
    """Parameters and multiply-adds per pixel of the networks that were measured, and of U-Nets."""
    counts = select(network, quantity="parameters").set_index("engine")["value"]
    work = select(network, quantity="multiply_adds_per_pixel").set_index("engine")["value"]
    rows = [[NETWORK_LABELS[name], n, work.get(name)] for name, n in counts.items()]
    rows.append(["U-Net of Ronneberger et al. 2015", unet_2015(), None])
    if UNET in counts:
        rows.append(["32 networks of BasicUNet's size", 32 * counts[UNET], 32 * work[UNET]])
    table = pd.DataFrame(rows, columns=["network", "parameters", "multiply-adds a pixel"])
    return table.astype({"parameters": int})
