"""The CUDA engine against the reference: on a GPU where there is one, else in the interpreter.

Without a GPU Triton interprets the kernels on CPU tensors, and a compile for a GPU that is only
described tells whether the compiler takes them.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from attention_cases import GROUPINGS, SHAPES, draw

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # Triton looks for it when it is imported
pytest.importorskip("triton")

import ngat.engines.cuda  # noqa: E402
from ngat.attention import TapGroup, attend, installed, resolve  # noqa: E402
from ngat.engines.cuda import attend as cuda  # noqa: E402
from ngat.engines.cuda.attend import Tile  # noqa: E402
from ngat.errors import InputError, MissingDependency  # noqa: E402

HERE = Path(__file__).parents[1]
# On a GPU these are what `-m gpu` selects; elsewhere they run interpreted, with all other tests.
pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []
ALL = ("king", "child", "parent")
# Agreement with the reference in float64, relative to the largest entry of a tensor, where only
# the inputs are rounded to the dtype: float32 adds up about a hundred terms; the shorter ones are
# rounded once, at the end (the interpreter cuts bfloat16 off instead).
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 4e-6,
    torch.float16: 2**-11,
    torch.bfloat16: 2**-8 if DEVICE == "cuda" else 2**-7,
}


@pytest.fixture(autouse=True)
def hurried_interpreter(monkeypatch):
    """Without what takes most of the interpreter's time: it patches Triton's language at every
    call of a function, though once for a kernel is enough, and checks integers for overflow."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    call = interpreter.InterpretedFunction.__call__

    def plain(self, *arguments, **constants):
        ours = self.fn.__module__.startswith("ngat")
        return (self.rewrite() if ours else call.__get__(self))(*arguments, **constants)

    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", plain)
    unchecked = replace(interpreter.interpreter_builder.options, sanitize_overflow=False)
    monkeypatch.setattr(interpreter.interpreter_builder, "options", unchecked)


@pytest.fixture
def tiles(monkeypatch):
    """Set how levels are cut up. The interpreter's time goes by programs: a few large ones."""

    def choose(rows, columns, threads):
        monkeypatch.setattr(cuda, "tile", lambda width, words: Tile(rows, columns, threads))

    if DEVICE == "cpu":
        choose(2, 64, 512)
    return choose


def reference(groups, destination):
    return attend(groups, destination, "reference")


def on_device(groups, destination):
    """The engine on its own device; value and gradients come back to the CPU."""
    moved = [TapGroup(g[0], *(t.to(DEVICE) for t in g[1:])) for g in groups]
    return attend(moved, destination.to(DEVICE), "cuda").cpu()


def assert_agree(found, expected, tolerance, what=""):
    assert found.shape == expected.shape
    scale = max(1.0, float(expected.abs().max()))
    error = float((found.double() - expected).abs().max()) / scale
    assert error <= tolerance, f"{what}: {error}"


def value_and_gradients(engine, groups, er, direction):
    """Output, and the gradients of its product with ``direction`` in (z, el, t, …, er)."""
    leaves = [t.detach().clone().requires_grad_() for g in groups for t in g[1:]]
    er = er.detach().clone().requires_grad_()
    copies = [TapGroup(g[0], *leaves[3 * n : 3 * n + 3]) for n, g in enumerate(groups)]
    out = engine(copies, er)
    gradients = torch.autograd.grad(
        out, [*leaves, er], direction, allow_unused=True, materialize_grads=True
    )
    return out.detach(), gradients


def assert_agrees(groups, er, tolerance, engine=on_device):
    """With the reference, in value, gradients and dtypes; the reference computes in float64."""
    z = groups[0].values
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(er.shape[0], z.shape[1], *er.shape[2:], generator=generator).to(z.dtype)
    exact = [TapGroup(g[0], *(t.double() for t in g[1:])) for g in groups]
    expected = value_and_gradients(reference, exact, er.double(), direction.double())
    found = value_and_gradients(engine, groups, er, direction)
    assert found[0].dtype == z.dtype
    assert_agree(found[0], expected[0], tolerance, "value")
    leaves = [*(t for g in groups for t in g[1:]), er]
    for leaf, one, other in zip(leaves, found[1], expected[1], strict=True):
        assert one.dtype == leaf.dtype
        assert_agree(one, other, tolerance, "gradient")


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("relations", GROUPINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_the_reference_in_value_and_gradient(shape, relations):
    odd = shape[2] % 2 == len(relations) % 2  # both, over the grid of cases
    groups, er = draw(shape, relations, odd=odd)
    assert_agrees(groups, er, TOLERANCE[torch.float64])


@pytest.mark.parametrize(("rows", "odd"), [(1, True), (2, True), (2, False), (4, False)])
def test_tiles_meet_without_a_seam(rows, odd, tiles):
    tiles(rows, 16, 32)
    assert Tile(rows, 16, 32).programs(9, 21) == (2, 9 // (2 * rows) + 1)
    groups, er = draw((1, 1, 1, 9, 21), ALL, odd=odd)
    assert_agrees(groups, er, TOLERANCE[torch.float64])


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("relations", [("king",), ALL])
def test_every_dtype_is_rounded_once(dtype, relations):
    groups, er = draw((1, 1, 5, 6, 7), relations, dtype=dtype)
    assert_agrees(groups, er, TOLERANCE[dtype])


@pytest.mark.usefixtures("tiles")
def test_parameters_may_stay_in_float32():
    groups, er = draw((1, 1, 4, 4, 5), ("king", "child"), dtype=torch.bfloat16)
    groups = [g._replace(tap=g.tap.float()) for g in groups]
    assert_agrees(groups, er, TOLERANCE[torch.bfloat16])


@pytest.mark.usefixtures("tiles")
def test_slices_of_one_product_are_served_as_they_lie():
    """The model passes z, el and er as channel slices of [W; a_s W; a_d W] x."""
    groups, er = draw((2, 2, 3, 5, 6), ("king", "parent"))

    def packed(groups, destination):
        views = []
        for relation, z, el, tap in groups:
            product = torch.cat([el, z, el], dim=1)
            views.append(TapGroup(relation, product[:, 2:8], product[:, 8:], tap))
            assert cuda.flat(product[:, 2:8])[0].data_ptr() == product[:, 2:8].data_ptr()
        return on_device(views, destination)

    assert_agrees(groups, er, TOLERANCE[torch.float64], packed)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize(
    "lay",
    [
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: x[:1].expand(2, -1, -1, -1),
    ],
    ids=["channels last", "columns first", "one for all pictures"],
)
def test_any_layout_is_taken(lay):
    groups, er = draw((2, 1, 3, 4, 5), ("king", "parent"))
    groups = [g._replace(values=lay(g.values), source=lay(g.source)) for g in groups]
    expected = reference(groups, lay(er))
    torch.testing.assert_close(on_device(groups, lay(er)), expected, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("scale", [100.0, 1e4])
def test_extreme_logits_are_exact_and_finite(scale):
    groups, er = draw((1, 1, 3, 9, 7), ALL, scale=scale, dtype=torch.float32)
    # A logit of this size is itself rounded to 2^-24 of it, which is the weight's relative error.
    assert_agrees(groups, er, 4 * (4e-6 + 5 * scale * 2**-24))


@pytest.mark.usefixtures("tiles")
def test_a_weight_far_below_the_largest_is_zero_and_nothing_worse():
    """All mass goes to one neighbour, on either side of the exponential's range."""
    z = torch.arange(9.0).view(1, 1, 3, 3)
    for gap in [86.0, 104.0, 1e30, float("inf")]:
        el = torch.full((1, 1, 3, 3), -gap)
        el[0, 0, 2, 2] = 0.0
        groups = [TapGroup("king", z, el, torch.zeros(1, 9))]
        out = on_device(groups, torch.full((1, 1, 3, 3), 100.0))
        torch.testing.assert_close(out[0, 0, 1:, 1:], torch.full((2, 2), 8.0))


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("relations", GROUPINGS)
def test_taps_beyond_the_border_touch_no_other_node(relations):
    """They are read somewhere inside, with weight zero: NaN may spread to receivers only."""
    groups, er = draw((1, 1, 2, 5, 6), relations)
    for group in groups:
        for y, x in [(0, 0), (0, 1), (1, 0), (-1, -1), (-2, -1)]:
            z = group.values.clone()
            z[..., y, x] = torch.nan
            case = [g._replace(values=z) if g is group else g for g in groups]
            assert torch.equal(on_device(case, er).isnan(), reference(case, er).isnan())


@pytest.mark.usefixtures("tiles")
def test_only_what_is_asked_for_gets_a_gradient():
    groups, er = draw((1, 2, 3, 4, 5), ("king", "parent"))
    z = groups[0].values.requires_grad_()
    (gradient,) = torch.autograd.grad(on_device(groups, er).sum(), [z])  # an expanded gradient, too
    expected = torch.autograd.grad(reference(groups, er).sum(), [z])[0]
    assert_agree(gradient, expected, 1e-12)
    assert not on_device([groups[1]], er).requires_grad


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("relations", GROUPINGS)
def test_results_repeat_to_the_last_bit(relations):
    groups, er = draw((2, 4, 8, 150, 130), relations, dtype=torch.float32)
    direction = torch.randn(2, 32, 150, 130)
    first = value_and_gradients(on_device, groups, er, direction)
    for _ in range(3):
        again = value_and_gradients(on_device, groups, er, direction)
        assert torch.equal(first[0], again[0])
        assert all(map(torch.equal, first[1], again[1]))


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("relations", GROUPINGS)
def test_large_levels_agree_with_the_reference(relations, dtype):
    groups, er = draw((2, 4, 16, 157, 203), relations, dtype=dtype)
    # dt sums over 10^5 nodes, in float32.
    assert_agrees(groups, er, TOLERANCE[dtype] + (dtype != torch.float64) * 1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_gradient_of_a_lone_parent_is_rounded_once(dtype):
    """Four children's gradients: their sum in pairs, each rounded, would be off by half as much
    again."""
    groups, er = draw((2, 4, 16, 157, 203), ("parent",), dtype=dtype)
    assert_agrees(groups, er, 2**-11 if dtype == torch.float16 else 2**-8)


def test_an_empty_batch_is_refused_in_a_sentence():
    groups, er = draw((1, 2, 3, 4, 4), ("king",))
    empty = [g._replace(values=g.values[:0], source=g.source[:0]) for g in groups]
    with pytest.raises(InputError, match="empty batch"):
        attend(empty, er[:0], "cuda")


def test_auto_takes_this_engine_on_its_device_only():
    assert resolve("auto", SimpleNamespace(device=torch.device("cuda", 1))) == "cuda"
    assert resolve("auto", torch.zeros(1)) != "cuda"


def test_tensors_on_the_cpu_are_refused_unless_triton_interprets(monkeypatch):
    from triton import JITFunction

    monkeypatch.setattr(cuda.kernels, "forward", JITFunction(on_device))
    groups, er = draw((1, 2, 3, 4, 4), ("king",))
    with pytest.raises(MissingDependency, match=r"CUDA device; these are on cpu\."):
        attend(groups, er, "cuda")


@pytest.mark.parametrize("triton", [None, SimpleNamespace(__version__="2.2.0")])
def test_without_triton_auto_falls_back_and_the_name_says_how_to_get_it(triton, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", triton)
    monkeypatch.setitem(sys.modules, "triton.language", triton)
    for module in ("attend", "kernels", "taps"):
        monkeypatch.delitem(sys.modules, f"ngat.engines.cuda.{module}")
        monkeypatch.delattr(ngat.engines.cuda, module)
    installed.cache_clear()
    try:
        groups, er = draw((1, 2, 3, 4, 4), ("king",))
        assert resolve("auto", SimpleNamespace(device=torch.device("cuda"))) == "reference"
        with pytest.raises(MissingDependency, match="needs Triton"):
            attend(groups, er, "cuda")
    finally:
        installed.cache_clear()


def compiled(folder, *arguments):
    """What cuda_offline.py says of every launch, by kernel; three sizes of pictures."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"PYTHONPATH": str(HERE.parent), "TRITON_CACHE_DIR": str(folder)}
    command = [sys.executable, str(HERE / "cuda_offline.py"), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    by_kernel = {}
    for launch in json.loads(done.stdout):
        by_kernel.setdefault(launch["kernel"], []).append(launch)
    return by_kernel


def test_compiled_code_is_one_for_all_sizes_and_loads_what_rows_share_once(tmp_path):
    found = compiled(tmp_path, 90, "float32", "king", 1)
    assert set(found) == {"forward", "as_destination", "king"}
    for launches in found.values():
        assert len(launches) == 3
        assert len({launch["name"] for launch in launches}) == 1
    # Two rows of a thread: er twice, t nine times, then 12 el and 12 z where taps are 18.
    assert found["forward"][0]["loads"] == 2 + 9 + 12 + 12
    assert found["as_destination"][0]["loads"] == 2 + 9 + 12 + 12 + 2
    # el and z of two nodes; er, m, 1/s, δ and g of twelve receivers.
    assert found["king"][0]["loads"] == 2 + 9 + 2 + 5 * 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "dtype"),
    [(75, "float16"), (80, "float32"), (90, "bfloat16"), (90, "float64"), (100, "float32")],
)
def test_compiled_code_keeps_everything_in_registers(capability, dtype, tmp_path):
    for relations in ("king", "child", "king,child,parent"):
        for launches in compiled(tmp_path, capability, dtype, relations, 8).values():
            assert launches[0]["stack"] == launches[0]["shared"] == launches[0]["barriers"] == 0
