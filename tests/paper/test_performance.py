"""Others are compared by the numbers of the result files, and parameters are counted."""

from __future__ import annotations

import pandas as pd
from torch import nn

from ngat.benchmark import rows
from ngat.benchmark.layers import PASSES, Case
from ngat.benchmark.network import INFERENCE, STEP, UNET
from ngat.paper.study import performance


def attention(ours: float = 2.0, peak: float = 100.0, first: float = 1.0) -> pd.DataFrame:
    """DGL takes 16 ms a pass and 300 bytes a node; the floor is 0.5 ms."""
    where = {"scope": "layer", "side": 256, "batch": 1, "nodes": 87040}
    where |= {"threads": 1, "dtype": "float32"}
    made = [rows.row("first_call_warm_s", first, engine="cpu", **where)]
    for which in PASSES:
        at = {**where, "pass": which}
        for engine, ms, size in (("cpu", ours, peak), ("dgl_gatconv", 16.0, 300.0)):
            made.append(rows.row("time_ms", ms, engine=engine, allocator="kept", **at))
            made.append(rows.row("time_ms", 9 * ms, engine=engine, allocator="default", **at))
            made.append(rows.row("peak_bytes_per_node", size, engine=engine, **at))
        made.append(rows.row("floor_ms", 0.5, engine="floor", allocator="kept", **at))
    return rows.write(None, made)


def network(ours: float = 10.0) -> pd.DataFrame:
    """With DGL 50 ms, the U-Net 10 ms."""
    where = {"scope": "network", "threads": 1, "allocator": "kept", "dtype": "float32"}
    made = [
        rows.row("time_ms", ms, engine=engine, **where, **{"pass": which})
        for which in (STEP, INFERENCE)
        for engine, ms in (("cpu", ours), ("dgl", 50.0), (UNET, 10.0))
    ]
    made += [
        rows.row(quantity, n, engine=engine)
        for quantity in ("parameters", "multiply_adds_per_pixel")
        for engine, n in (("cpu", 5), (UNET, 20))
    ]
    return rows.write(None, made)


def test_others_take_so_many_times_as_much() -> None:
    found = performance.beside(attention(), network())
    assert dict(zip(found["what"] + ", " + found["beside"], found["times"], strict=True)) == {
        "layer, 256 × 256, forward, 1 thread, DGL GATConv": 8.0,
        "layer, 256 × 256, forward+backward, 1 thread, DGL GATConv": 8.0,
        "layer, peak memory, forward, DGL GATConv": 3.0,
        "layer, peak memory, forward+backward, DGL GATConv": 3.0,
        "network, training step, 1 thread, NGAT dgl": 5.0,
        "network, training step, 1 thread, BasicUNet": 1.0,
        "network, inference, 1 thread, NGAT dgl": 5.0,
        "network, inference, 1 thread, BasicUNet": 1.0,
    }
    slower = performance.beside(attention(ours=32.0, peak=600.0), network(ours=20.0))
    assert slower["times"].tolist() == [0.5, 0.5, 0.5, 0.5, 2.5, 0.5, 2.5, 0.5]


def test_times_carry_ratio_and_floor() -> None:
    found = performance.layer_times(attention(), engine="cpu").set_index("pass")
    assert found["ratio"].tolist() == [8.0, 8.0]
    assert (found["value"] / found["floor"]).tolist() == [4.0, 4.0]


def test_unet_of_2015_counted_by_torch() -> None:
    def double(before: int, width: int) -> list[nn.Module]:
        return [nn.Conv2d(before, width, 3), nn.Conv2d(width, width, 3)]

    down = [double(a, b) for a, b in ((3, 64), (64, 128), (128, 256), (256, 512), (512, 1024))]
    up = [
        [nn.ConvTranspose2d(2 * width, width, 2, 2), *double(2 * width, width)]
        for width in (512, 256, 128, 64)
    ]
    whole = nn.ModuleList([layer for stage in (*down, *up) for layer in stage])
    whole.append(nn.Conv2d(64, 2, 1))
    assert performance.unet_2015() == sum(p.numel() for p in whole.parameters())


def test_parameters_beside_others() -> None:
    table = performance.parameters(network()).set_index("network")
    assert table["parameters"].to_dict() == {
        "companion": 5,
        "BasicUNet": 20,
        "U-Net of Ronneberger et al. 2015": performance.unet_2015(),
        "32 networks of BasicUNet's size": 640,
    }


def test_agreement_is_measured_not_assumed(monkeypatch) -> None:
    case = Case(side=6, levels=2, heads=2, channels=4)
    monkeypatch.setattr(performance, "LABELS", {"reference": "a", "cpu": "b"})
    table = performance.agreement(case).set_index("layer")
    assert (table < 1e-5).all(axis=None)

    build = performance.build

    def off(name, case):
        layer = build(name, case)
        if name == "cpu":
            layer.conv.own.weight.data *= 1.01
        return layer

    monkeypatch.setattr(performance, "build", off)
    table = performance.agreement(case).set_index("layer")
    assert (table.loc["b"] > 1e-3).all()
