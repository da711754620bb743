"""What the benchmark compares is the same function; what it counts is counted right. Nothing here
depends on how fast anything is."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from ngat.benchmark import attention, measure, network, parts, report, rows, worker
from ngat.benchmark.attention import LayerPlan, passes_of
from ngat.benchmark.graph_libraries import build
from ngat.benchmark.layers import BASELINE, PASSES, Case, Cost, cost, draw, floor_ms
from ngat.benchmark.measure import Rates, interleaved, peak_bytes, quartiles
from ngat.benchmark.network import NetworkPlan
from ngat.benchmark.worker import ALLOCATORS, BenchmarkFailed, Setting, benchmark
from ngat.cli import app
from ngat.config import PRESETS, ModelConfig, Preset, preset
from ngat.errors import InputError, MissingDependency
from ngat.graph import RELATIONS
from ngat.model import NGAT

RESULTS = Path(__file__).parents[2] / "data/results"
CASE = Case(side=13, batch=2, levels=3, heads=2, channels=6)
TYPED = dataclasses.replace(CASE, relations="typed")
ON_CPU = ("cpu", "reference", "compile", "dgl", "dgl_gatconv", "pyg_gatconv")


def layer_of(engine: str, case: Case = CASE):
    try:
        return build(engine, case)
    except MissingDependency as error:
        pytest.skip(str(error))


def by_hand(case: Case, planes: list[torch.Tensor]) -> list[torch.Tensor]:
    """Eq. 13–18 node by node, in float64, on the graph's own edges."""
    weights = draw(case)

    def double(softmax):
        return [x.double() for x in softmax]

    def attention(x, relations, softmax):
        w, a_s, a_d = double(softmax)
        z = (x @ w.T).unflatten(1, (case.heads, -1))
        h = torch.zeros_like(z)
        sources: list[list[int]] = [[] for _ in range(len(z))]
        for relation in relations:
            for j, i in zip(*(e.tolist() for e in case.graph.edges(relation)[:2]), strict=True):
                sources[i].append(j)
        for i, js in enumerate(sources):
            for head in range(case.heads if js else 0):
                e = torch.stack([a_s[head] @ z[j, head] + a_d[head] @ z[i, head] for j in js])
                e = torch.where(e > 0, e, 0.2 * e)
                alpha = torch.exp(e) / torch.exp(e).sum()
                h[i, head] = sum(a * z[j, head] for a, j in zip(alpha, js, strict=True))
        return h.flatten(1)

    outputs = [torch.empty(case.batch, case.channels, *size).double() for size in case.graph.sizes]
    for b in range(case.batch):
        x = torch.cat([plane[b].double().flatten(1) for plane in planes], dim=1).T
        if case.relations == "joint":
            h = x + torch.relu(attention(x, RELATIONS, weights.king))
        else:
            y = x @ weights.own.double().T
            y = y + attention(x, ["king"], weights.king) + attention(x, ["child"], weights.child)
            j, i, _ = case.graph.edges("parent")
            y[i] += x[j] @ weights.parent.double().T
            h = x + torch.relu(y) @ weights.out.double().T
        split = h.T.split([r * c for r, c in case.graph.sizes], dim=1)
        for output, part, size in zip(outputs, split, case.graph.sizes, strict=True):
            output[b] = part.unflatten(1, size)
    return outputs


@pytest.fixture(scope="module")
def planes() -> list[torch.Tensor]:
    return CASE.planes()


@pytest.fixture(scope="module")
def expected(planes: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    return {case.relations: by_hand(case, planes) for case in (CASE, TYPED)}


@pytest.mark.parametrize("case", [CASE, TYPED], ids=["joint", "typed"])
@pytest.mark.parametrize("engine", ON_CPU)
def test_every_layer_computes_the_formula(engine, case, planes, expected) -> None:
    layer = layer_of(engine, case)
    found = layer.planes(layer(layer.lay_out(planes)))
    for level, value in zip(found, expected[case.relations], strict=True):
        torch.testing.assert_close(level.double(), value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [CASE, TYPED], ids=["joint", "typed"])
@pytest.mark.parametrize("engine", ON_CPU)
def test_every_layer_has_the_same_gradients(engine, case, planes) -> None:
    """In the inputs, in W, a_s and a_d of the king's softmax: for NGAT by the chain rule."""
    c, h = case.channels, case.heads

    def gradients(name: str) -> dict[str, torch.Tensor]:
        layer = layer_of(name, case)
        inputs = [x.requires_grad_() for x in layer.lay_out([p.clone() for p in planes])]
        outputs = layer.planes(layer(inputs))
        sum((out**2).sum() for out in outputs).backward()
        x = torch.cat([p.flatten(2) for p in layer.planes([x.grad for x in inputs])], dim=2)
        if name == "dgl_gatconv":
            conv = layer.conv if case.relations == "joint" else layer.conv.mods["king"]
            return {"x": x, "w": conv.fc.weight.grad, "a": conv.attn_l.grad, "d": conv.attn_r.grad}
        if name == "pyg_gatconv":
            conv = layer.conv if case.relations == "joint" else layer.conv["king"]
            of_a = {"a": conv.att_src.grad, "d": conv.att_dst.grad}
            return {"x": x, "w": conv.lin.weight.grad, **of_a}
        w, a_s, a_d = draw(case).king
        rows = layer.conv.own.weight.grad
        of_z, of_s, of_d = (rows if case.relations == "joint" else rows[c:-h]).split([c, h, h])
        through = sum(
            (a[:, :, None] * g[:, None]).flatten(0, 1) for a, g in ((a_s, of_s), (a_d, of_d))
        )
        of_a = {
            key: torch.einsum("hc,hdc->hd", g, w.unflatten(0, (h, -1)))[None]
            for key, g in (("a", of_s), ("d", of_d))
        }
        return {"x": x, "w": of_z + through, **of_a}

    truth = gradients("reference")
    for key, value in gradients(engine).items():
        torch.testing.assert_close(value, truth[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", [CASE, TYPED], ids=["joint", "typed"])
def test_the_layer_that_is_timed_is_the_one_that_the_network_runs(case, planes, monkeypatch):
    """Typed: one fused operation a level; joint: one for all levels."""
    pytest.importorskip("numba")
    from ngat.engines.cpu import fused

    calls = []
    for name in ("typed_update", "joint_levels"):
        original = getattr(fused, name)

        def noted(*args, original=original, name=name):
            calls.append(name)
            return original(*args)

        monkeypatch.setattr(fused, name, noted)
    build("cpu", case)(list(planes))
    of_layer, calls[:] = calls[:], []
    config = ModelConfig(
        levels=3, channels=6, heads=2, norm_groups=2, depth=1, relations=case.relations
    )
    NGAT(dataclasses.replace(config, schedule="synchronous"))(torch.rand(1, 3, 13, 13))
    assert of_layer == calls
    assert calls == (["joint_levels"] if case is CASE else 3 * ["typed_update"])


def test_passes_are_those_of_the_layer() -> None:
    calls = passes_of(layer_of("reference"))
    assert tuple(calls) == PASSES
    assert len(calls["forward"]()) == CASE.levels
    assert not any(out.requires_grad for out in calls["forward"]())
    assert len(calls["forward+backward"]()) == 3 + 5  # inputs and weights


def test_cost_counted_by_hand() -> None:
    """2 × 2 pixels, 2 levels: 5 nodes; 16 + 1 king edges, 4 to the parent, 4 from the children."""
    case = Case(side=2, levels=2, heads=2, channels=4)
    assert (case.nodes, case.edges) == (5, 25)
    products, sums = 5 * 4 * (4 + 2 + 2), 25 * 4
    assert cost(case, "forward") == Cost(4 * 5 * (4 + 4), products + sums)
    assert cost(case, "forward+backward") == Cost(4 * 5 * 20, 3 * products + 3 * sums)
    twice = Case(side=2, batch=2, levels=2, heads=2, channels=4, dtype="bfloat16")
    assert cost(twice, "forward") == Cost(4 * 5 * 8, 2 * (products + sums))
    # own 12 + 6 rows, of 4 children 6, of 1 parent 4, at the end 4 rows a node; 21 edges
    typed = (5 * (3 * 4 + 3 * 2) + 4 * (4 + 2) + 4) * 4 + 21 * 4
    case = dataclasses.replace(case, relations="typed")
    assert cost(case, "forward") == Cost(4 * 5 * 8, typed)


def test_floor_is_the_slower_of_both() -> None:
    assert floor_ms(Cost(10**9, 10**9), Rates(copy=2.0, product=4.0)) == 500
    assert floor_ms(Cost(10**9, 10**9), Rates(copy=8.0, product=4.0)) == 250


def test_every_time_says_of_which_instruction_set_it_is(monkeypatch) -> None:
    """Kernels that have 16 registers are another program: figures of both must not be mixed up."""
    pytest.importorskip("numba")
    from ngat.engines.cpu.compile import instruction_set

    assert measure.processor("cpu").endswith(f", {instruction_set()}")
    for name, narrow in (("attention", False), ("network", False), ("network_avx2", True)):
        frame = rows.read(RESULTS / f"benchmark_{name}.csv")
        named = frame.loc[frame["quantity"] == "time_ms", "hardware"]
        assert named.str.contains("AVX2" if narrow else "AVX-512$").all()
    monkeypatch.setenv("NGAT_SIMD", "")
    assert worker.restrictions() == {}
    monkeypatch.setenv("NGAT_SIMD", "avx2")  # torch's own libraries, too
    assert {v.lower() for v in worker.restrictions().values()} == {"avx2"}


def test_machine_rates_are_in_the_units_of_the_floor() -> None:
    (_, gigabytes), (_, giga_fma) = measure.machine(1000, torch.float32, "cpu").values()
    assert gigabytes == pytest.approx(2 * 4 * 1000 / 1e9)
    assert giga_fma == pytest.approx(1.073741824)


def test_engines_take_turns() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "abcd"}
    found = interleaved(calls, rounds=20, seconds=60)
    assert [found[name].rounds for name in "abcd"] == [20] * 4
    turns = [order[:4], *(order[n : n + 8] for n in range(4, len(order), 8))]
    assert len(turns) == 21  # one round beforehand
    assert all(turn[::2] == turn[1::2] for turn in turns[1:]), "a turn is two calls"
    assert {"".join(sorted(set(turn))) for turn in turns} == {"abcd"}
    assert len({"".join(turn) for turn in turns}) > 5, "the order must change"


def test_the_second_call_of_a_turn_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    costs = itertools.chain([5.0], itertools.cycle([5.0, 1.0]))  # beforehand; cold, warm; …

    def turn() -> None:
        now[0] += next(costs)

    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    assert interleaved({"a": turn}, rounds=4, seconds=60)["a"].high == 1000.0


def test_time_limit_leaves_three_rounds() -> None:
    assert interleaved({"a": lambda: None}, rounds=20, seconds=0.0)["a"].rounds == 3


def test_quartiles() -> None:
    assert quartiles([5.0, 1.0, 2.0, 4.0, 3.0]) == (3.0, 2.0, 4.0, 5)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_sees_torch_and_numpy_alike() -> None:
    size = 48 << 20  # above what any allocator keeps

    def together() -> None:
        kept = torch.ones(size // 4), np.ones(size, np.uint8)
        del kept

    def one_after_the_other() -> None:
        for _ in range(2):
            np.ones(size, np.uint8)

    assert peak_bytes(together) == pytest.approx(2 * size, rel=0.03)
    assert peak_bytes(one_after_the_other) == pytest.approx(size, rel=0.03)


def test_what_is_not_installed_is_noted(monkeypatch) -> None:
    def absent(engine, *_):
        if engine == "pyg_gatconv":
            raise MissingDependency("no such package")
        if engine == "dgl_gatconv":
            raise ValueError("a rival's own trouble\nwith details")
        return build(engine, *_)

    monkeypatch.setattr(attention, "build", absent)
    engines = ("reference", "dgl_gatconv", "pyg_gatconv")
    plan = LayerPlan(sides=(4,), levels=2, engines=engines, rounds=3, seconds=0)
    arguments = {"plan": plan, "cases": plan.at(4), "compiled": ()}
    found, notes = worker.do(attention.time_layers, Setting(), arguments)
    assert notes == {
        "pyg_gatconv": "no such package",
        "dgl_gatconv": "at 4 × 4: a rival's own trouble",
    }
    assert {r["engine"] for r in found} == {"reference", "machine", "floor"}
    absent_too = {"case": plan.at(4)[0], "engine": "pyg_gatconv", "which": "forward"}
    assert worker.do(attention.memory, Setting(), absent_too) == (
        [],
        {"pyg_gatconv": "no such package"},
    )


def test_trouble_with_an_engine_of_ours_is_not_passed_over(monkeypatch) -> None:
    def broken(*_):
        raise ValueError("wrong")

    monkeypatch.setattr(attention, "build", broken)
    plan = LayerPlan(sides=(4,), engines=("cpu",))
    with pytest.raises(ValueError, match="wrong"):
        list(attention.time_layers(Setting(), plan, plan.at(4), ()))


def in_this_process(job, setting, arguments, **_):
    """As :func:`ngat.benchmark.worker.run`, in no process of its own."""
    return worker.do(*pickle.loads(pickle.dumps((job, setting, arguments))))


def test_command_writes_what_it_says(tmp_path, monkeypatch) -> None:
    # Nine jobs, each of which would load torch and DGL anew. A process of its own does a job in the
    # next test, and in the rehearsal of a GPU session, which is slow.
    monkeypatch.setattr(worker, "run", in_this_process)
    out = tmp_path / "attention.csv"
    arguments = (
        "benchmark attention --sides 8,9 --batches 1 --levels 2 --threads 1 --repeats 3 "
        "--seconds 0 --engines reference,dgl_gatconv --memory-side 8 --first-side 0 "
        f"--default-side 0 --quiet --out {out}"
    )
    result = CliRunner().invoke(app, arguments.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    frame = rows.read(out)
    assert list(frame.columns) == rows.COLUMNS
    times = rows.select(frame, quantity="time_ms", scope="layer")
    assert len(times) == len(rows.select(frame, quantity="time_ms", scope="typed layer"))
    measured = {"reference"} if "not measured: dgl" in result.output else {"reference", BASELINE}
    found = set(zip(times["side"], times["pass"], times["engine"], strict=True))
    assert found == {(side, p, engine) for side in (8, 9) for p in PASSES for engine in measured}
    assert (times["rounds"] == 3).all()
    assert (times["low"] <= times["value"]).all()
    assert times["hardware"].str.contains("core").all()
    assert times["version"].str.startswith("torch ").all()
    peaks = rows.select(frame, quantity="peak_bytes_per_node")
    assert sys.platform != "linux" or set(peaks["allocator"]) == {"returned"}
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["plan"]["sides"] == [8, 9]
    assert record["allocators"] == ALLOCATORS
    assert str(tmp_path) not in out.with_suffix(".json").read_text()


def test_failed_worker_is_told_in_a_sentence() -> None:
    job = {"case": Case(4), "engine": "none", "which": "forward"}
    with pytest.raises(BenchmarkFailed, match="KeyError: 'none'"):
        worker.run(attention.memory, Setting(), job, quiet=True)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"device": "tpu"}, "Unknown device 'tpu'"),
        ({"dtype": "int8"}, "Unknown dtype 'int8'"),
        ({"threads": (10_000,)}, "10000 threads cannot be measured"),
        ({"engines": ("magic",)}, "Unknown engine 'magic'"),
        ({"rounds": 0}, "round"),
    ],
)
@pytest.mark.parametrize("plan", [LayerPlan, NetworkPlan])
def test_bad_plans_are_refused(plan, wrong, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        plan(**wrong)


def test_sizes_are_all_combinations_that_are_not_too_large() -> None:
    plan = LayerPlan(sides=(8, 16), batches=(1, 4), most_pixels=256)
    assert [(c.side, c.batch) for c in plan.cases[::2]] == [(8, 1), (8, 4), (16, 1)]
    assert [c.relations for c in plan.cases] == 3 * ["typed", "joint"]


@pytest.mark.parametrize(
    "wrong", [{"channels": 30}, {"sides": ()}, {"batches": (0,)}, {"most_pixels": 63}]
)
def test_sizes_that_make_no_layer_are_refused(wrong) -> None:
    with pytest.raises(InputError):
        LayerPlan(**wrong)


def test_words_instead_of_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="--sides a,b"):
        CliRunner().invoke(
            app, ["benchmark", "attention", "--sides", "a,b"], catch_exceptions=False
        )


def frame_of(*measured: dict) -> pd.DataFrame:
    where = {"scope": "layer", "pass": "forward", "side": 8, "batch": 1, "nodes": 10}
    where |= {"threads": 1, "allocator": "kept", "dtype": "float32"}
    made = [{**where, **row} for row in measured]
    return rows.write(None, [rows.row(m.pop("quantity"), m.pop("value"), **m) for m in made])


def test_ratios_are_within_one_setting() -> None:
    frame = frame_of(
        {"quantity": "time_ms", "engine": "cpu", "value": 2.0},
        {"quantity": "time_ms", "engine": "cpu", "value": 3.0, "threads": 2},
        {"quantity": "time_ms", "engine": "dgl_gatconv", "value": 20.0},
        {"quantity": "time_ms", "engine": "dgl_gatconv", "value": 90.0, "side": 9},
    )
    ratio = report.ratios(frame)["ratio"]
    assert ratio.tolist()[0] == 10
    assert np.isnan(ratio.tolist()[1])
    assert ratio.tolist()[2:] == [1, 1]


def test_rows_survive_the_file(tmp_path) -> None:
    frame = frame_of({"quantity": "time_ms", "engine": "cpu", "value": 1.23456789})
    frame.to_csv(tmp_path / "a.csv", index=False)
    again = rows.read(tmp_path / "a.csv")
    assert again["value"].tolist() == [1.235]
    assert again["side"].tolist() == [8]
    (tmp_path / "b.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no table of measured times; make it"):
        rows.read(tmp_path / "b.csv")


def contender(name: str, preset_name: str = "smoke") -> network.Contender:
    try:
        return network.contender(name, NetworkPlan(preset=preset_name, batch=2, patch=32, side=33))
    except MissingDependency as error:
        pytest.skip(str(error))


def test_networks_on_all_engines_are_one_network() -> None:
    truth = contender("reference")
    loss, picture = truth.step(), truth.inference()
    for name in ("cpu", "dgl"):
        other = contender(name)
        torch.testing.assert_close(other.step(), loss, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(other.inference(), picture, rtol=1e-3, atol=1e-4)


def test_unet_is_the_one_that_is_named() -> None:
    unet = contender(network.UNET)
    assert sum(p.numel() for p in unet.model.parameters()) == pytest.approx(2e6, rel=0.02)
    assert unet.inference().shape == (1, 2, 33, 33)
    first = float(unet.step())
    assert float(unet.step()) != first, "the step must change the network"


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_parts_of_a_step_add_up_and_leave_no_trace(engine, monkeypatch) -> None:
    monkeypatch.setitem(PRESETS, "shallow", preset("smoke", depth=1, levels=3))
    network = contender(engine, "shallow")
    found = parts.split_by_part(network.step, network.model, "cpu")
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) >= 0
    # The cpu engine does attention and the maps around it in one.
    attention = "typed update" if engine == "cpu" else "attention"
    for part in (attention, "linear maps", "norm", "projection and plasticity", "loss"):
        assert found[part, "forward"] > 0
        assert found[part, "backward"] > 0
    assert found["optimiser", ""] > 0
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.model.modules())


def test_work_counted_by_hand() -> None:
    """A network without V-cycle work: one level, one update, in 4 × 4 pixels."""
    tiny = Preset("tiny", model=ModelConfig(levels=1, channels=4, heads=2, depth=1))
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setitem(PRESETS, "tiny", tiny)
        found = network.multiply_adds("cpu", "tiny", 4)
    embed, maps, out, head = 4 * 4, (4 + 4 + 2 + 2) * 4, 4 * 4, 2 * 4
    assert found == embed + maps + out + head + 9 * 4


def test_parts_by_hand() -> None:
    """Backward operations belong to whom made them; what no operation covers is the rest."""

    def event(name, start, end, own, number=-1, parent=None):
        span = SimpleNamespace(start=start, elapsed_us=lambda: end - start)
        return SimpleNamespace(
            name=name,
            time_range=span,
            self_cpu_time_total=own,
            self_device_time_total=2 * own,
            sequence_nr=number,
            cpu_parent=parent,
        )

    whole = event("ngat: all", 0, 100, 20)
    norm = event("ngat: norm", 1, 20, 4, parent=whole)
    forward = event("aten::native_group_norm", 2, 18, 15, 7, norm)
    other = event("aten::add", 21, 31, 10, 8, whole)
    root = event("autograd::engine::evaluate_function: NormBackward", 40, 80, 5, 7, whole)
    inner = event("aten::native_group_norm_backward", 41, 75, 35, -1, root)
    attention = event("autograd::engine::evaluate_function: AttentionBackward", 81, 90, 9, 9, whole)
    found = parts.shares([inner, root, whole, attention, other, forward, norm])
    assert found == pytest.approx(
        {
            ("norm", "forward"): 0.15,
            ("norm", "backward"): 0.40,
            ("attention", "backward"): 0.09,
            ("rest", ""): 0.36,
        }
    )


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "run", in_this_process)
    plan = LayerPlan(
        sides=(4,),
        batches=(1,),
        levels=2,
        threads=(1,),
        engines=("reference",),
        rounds=3,
        seconds=0,
        memory_side=0,
        first_side=0,
        default_side=0,
    )
    frame, notes = benchmark(plan, quiet=True)
    assert notes == {}
    assert len(rows.select(frame, quantity="time_ms")) == 4
    assert list(tmp_path.iterdir()) == []
