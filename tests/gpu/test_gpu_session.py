"""``ngat gpu``: steps end in time, go on after errors, are done once; all in a rehearsal."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ngat import data
from ngat.baselines.networks import build
from ngat.config import preset
from ngat.data.pack import MOST_BYTES
from ngat.errors import InputError, MissingDependency
from ngat.gpu import plan, session
from ngat.gpu.plan import COUNTS, TRAINED, GpuPlan, afterwards, write_data
from ngat.gpu.session import Step, run
from ngat.system import precision, provenance

ROOT = Path(__file__).parents[2]
MOST_TREE = 64 * 2**20


def python(code):
    return ("-c", code)


def do(steps, folder, minutes=1.0):
    """Whether all went well, the lines that were said, and the report."""
    said = []
    whole = run(steps, folder / "out", folder / "work", minutes, device="cpu", say=said.append)
    return whole, said, json.loads((folder / "out" / session.REPORT).read_text())


def runs_out(monkeypatch, ready=lambda: True):
    """The time of the next command ends once it is ready, however slow the machine; its limit."""
    wait, limits = subprocess.Popen.wait, []

    def until_ready(process, timeout=None):
        if limits:
            return wait(process, timeout)
        limits.append(timeout)
        while not ready():
            assert process.poll() is None
            time.sleep(0.01)
        raise subprocess.TimeoutExpired(process.args, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", until_ready)
    return limits


def said_in(log, text):
    return lambda: log.exists() and text in log.read_text()


def test_a_failure_is_told_in_a_sentence_and_the_rest_goes_on(tmp_path):
    steps = [
        Step("one", (python("print(1)"), python("raise SystemExit('no such card')")), 1.0),
        Step("two", (python("print('fine')"),), 1.0),
    ]
    whole, said, report = do(steps, tmp_path)
    assert not whole
    assert report["steps"]["one"]["status"] == "failed"
    assert report["steps"]["one"]["sentence"].endswith("ended with 1: no such card")
    assert report["steps"]["two"]["status"] == "done"
    assert [line.split(":")[0] for line in said] == ["one", "two"]
    assert (tmp_path / "out" / "two.log").read_text() == "fine\n"
    assert {"device", "versions", "commit"} <= report.keys()


def test_what_is_done_is_not_done_again(tmp_path):
    mark = tmp_path / "mark"
    count = f"open({str(mark)!r}, 'a').write('x')"
    fails = f"import os, sys; sys.exit(not os.path.exists({str(tmp_path / 'ready')!r}))"
    steps = [Step("counted", (python(count),), 1.0), Step("later", (python(fails),), 1.0)]
    assert not do(steps, tmp_path)[0]
    (tmp_path / "ready").touch()
    assert do(steps, tmp_path)[0]
    assert mark.read_text() == "x"
    shutil.rmtree(
        tmp_path / "out"
    )  # an output folder is given anew: results are there all the same
    assert do(steps, tmp_path)[0]
    assert (tmp_path / "out" / "counted.log").exists()
    assert mark.read_text() == "x"


def test_a_step_ends_with_its_time_and_is_asked_first(tmp_path, monkeypatch):
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('checkpoint written'))\n"
        "print('ready', flush=True)\n"
        "time.sleep(100)"
    )
    limits = runs_out(monkeypatch, said_in(tmp_path / "work/slow.log", "ready"))
    whole, _, report = do([Step("slow", (python(code),), 0.15, keeps=("*.log",))], tmp_path)
    assert not whole
    assert limits == [pytest.approx(9, abs=1)]
    assert "ran past its 9 s" in report["steps"]["slow"]["sentence"]
    assert report["steps"]["slow"]["sentence"].endswith("checkpoint written")


def test_what_cannot_be_is_skipped_and_is_no_failure(tmp_path, monkeypatch):
    steps = [
        Step("absent", (python("1"),), 1.0, needs=("no_such_package",)),
        Step("waits", (python("1"),), 1.0, after="weights"),
    ]
    whole, _, report = do(steps, tmp_path)
    assert whole
    assert report["steps"]["absent"]["sentence"] == "no_such_package is not installed here."
    assert report["steps"]["waits"]["sentence"] == "It needs weights, which no step has made."
    _, _, late = do([Step("late", (python("1"),), 1.0)], tmp_path / "late", minutes=0.01)
    assert late["steps"]["late"]["status"] == "skipped"
    slow = [Step("slow", (python("import time; time.sleep(60)"),), 1.0)]
    limits = runs_out(monkeypatch)
    whole, _, cut = do(slow, tmp_path / "cut", minutes=0.1)
    assert whole
    assert limits == [pytest.approx(6, abs=1)]
    assert cut["steps"]["slow"]["sentence"].startswith("The minutes are over")


def test_files_are_kept_even_of_a_step_that_failed(tmp_path):
    folder = tmp_path / "work" / "run"
    code = (
        f"import os; os.makedirs({str(folder)!r}); "
        f"open({str(folder / 'log.csv')!r}, 'w').write('1'); 1 / 0"
    )
    do([Step("one", (python(code),), 1.0, keeps=("run/log.csv", "run/none"))], tmp_path)
    assert (tmp_path / "out" / "run" / "log.csv").read_text() == "1"


@pytest.mark.parametrize("packages", [{"torchvision", "monai"}, {"torchvision"}, set()])
def test_the_steps_fit_the_minutes(packages, tmp_path, monkeypatch):
    monkeypatch.setattr(
        plan.importlib.util, "find_spec", lambda name: name if name in packages else None
    )
    made = GpuPlan(9.0, tmp_path)
    names = [step.name for step in made.steps]
    assert names[:3] == ["kernels", "training", "predictions-maskrcnn"]
    assert names[-1] == "predictions-fpn"
    expected = [name for name in TRAINED if set(plan.NEEDS.get(name, ())) <= packages]
    assert made.present == expected
    rehearsed = [name for name in expected if name != "fpn"]
    assert GpuPlan(9.0, tmp_path, rehearse=True).present == rehearsed
    reserved = plan.TESTS + 3 * plan.BENCHMARK + plan.LOADING + len(expected) * plan.PREDICTIONS
    assert made.training + reserved == pytest.approx(9.0)
    assert made.training <= made.trainings().minutes <= made.training + 2
    for name in expected:  # what is set exists
        words = made.train(name)
        settings = [words[n + 1] for n, word in enumerate(words) if word == "--set"]
        preset(name, **{s.partition("=")[0]: s.partition("=")[2] for s in settings})


def test_some_steps_may_be_asked_for_and_have_the_time_of_the_others(tmp_path):
    some = GpuPlan(9.0, tmp_path, only=("training", "kernels"))
    assert [step.name for step in some.steps] == ["kernels", "training"]
    assert some.training == pytest.approx(9.0 - plan.TESTS - plan.LOADING)
    with pytest.raises(InputError, match=r"no step .trainings.; there are: kernels, train"):
        GpuPlan(9.0, tmp_path, only=("trainings",))


def test_commands_run_side_by_side_and_end_together(tmp_path, monkeypatch):
    """Each waits for the file of the other; the third is asked to end with its time."""

    def meets(mine, other):
        return python(
            "import pathlib, sys, time\n"
            f"pathlib.Path({str(tmp_path / mine)!r}).touch()\n"
            f"while not pathlib.Path({str(tmp_path / other)!r}).exists(): time.sleep(0.01)\n"
            "sys.stdout.write('met\\n')"  # in one piece, whatever the other writes
        )

    pair = Step("pair", (meets("a", "b"), meets("b", "a")), 5, together=True)
    stuck = Step("stuck", (meets("c", "none"), meets("d", "a")), 0.05, together=True)
    whole, _, report = do([pair], tmp_path)
    assert whole
    assert (tmp_path / "out" / "pair.log").read_text() == "met\nmet\n"
    limits = runs_out(monkeypatch, said_in(tmp_path / "work/stuck.log", "met"))
    whole, _, report = do([stuck], tmp_path)
    assert not whole
    assert limits == [pytest.approx(3, abs=1)]
    assert "ran past its 3 s" in report["steps"]["stuck"]["sentence"]
    assert (tmp_path / "out" / "stuck.log").read_text() == "met\n"


def test_only_steps_of_fixed_work_are_recorded(tmp_path):
    made = GpuPlan(9.0, tmp_path)
    recorded = {name for name in TRAINED if "--captured" in made.train(name)}
    assert recorded == {"companion"}


def test_generated_data_are_read_like_the_real_ones(tmp_path):
    write_data(tmp_path)
    for split, masks in (("train", "corrected"), ("val", "published")):
        found = data.load("dsb2018", split, root=tmp_path, masks=masks, progress=False)
        assert len(found) == COUNTS[split]
        assert found[0].image.shape == (64, 64, 3)


def test_a_copy_without_history_says_which_commit_it_is_of(monkeypatch):
    monkeypatch.setenv("NGAT_COMMIT", "0123abc")
    assert provenance.commit() == "0123abc"


@pytest.mark.parametrize("where", ["module", "tool", "nowhere"])
def test_results_of_a_gpu_name_card_and_driver(where, tmp_path, monkeypatch):
    module = tmp_path / "version"
    if where == "module":
        module.write_text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05\n")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + ("echo 580.95.05" if where == "tool" else "exit 9"))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(provenance, "DRIVER", str(module))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100")
    found = provenance.provenance("ngat gpu", 0, None, 1.0, device="cuda")
    known = where != "nowhere"
    assert found["hardware"] == ("NVIDIA H100, driver 580.95.05" if known else "NVIDIA H100")
    assert found["versions"].get("driver") == ("580.95.05" if known else None)
    assert {"torch", "cuda", "triton"} <= found["versions"].keys()


def test_all_weights_fit_what_can_be_carried_back():
    """Mask R-CNN's in eight bits a number, the others' in 32; a mebibyte or two is for the rest."""
    needed = 0
    for name in TRAINED:
        try:
            with torch.device("meta"):
                model = build(preset(name).model)
        except MissingDependency:
            continue
        count = sum(p.numel() for p in model.parameters())
        needed += count * (1 if name in plan.COMPACT else 4)
    assert needed < 62 * 2**20


def test_the_companion_may_go_on_from_weights(tmp_path):
    made = GpuPlan(9.0, tmp_path, start=Path("data/weights/companion.safetensors"))
    words = made.train("companion")
    assert words[words.index("--start") + 1] == "data/weights/companion.safetensors"
    assert "--start" not in made.train("unet")


def test_precision_goes_by_what_the_card_can_do(monkeypatch):
    cuda = torch.device("cuda", 0)
    for capability, dtype in [
        ((9, 0), torch.bfloat16),
        ((8, 0), torch.bfloat16),
        ((7, 5), torch.float16),
        ((6, 1), torch.float32),
    ]:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        assert precision.lowest(cuda) == dtype
    assert precision.lowest(torch.device("cpu")) == torch.float32
    assert not precision.scaler(torch.device("cpu")).is_enabled()
    assert precision.exact(torch.ones(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert precision.exact(torch.ones(1, dtype=torch.float64)).dtype == torch.float64


def test_nothing_is_imported_that_such_a_machine_lacks():
    """By the commands of a session; tests of kernels are run without the project's settings."""
    absent = ("dgl", "monai", "pooch", "papermill", "centrosome", "requests", "nbformat", "IPython")
    modules = (
        "cli",
        "training",
        "evaluation",
        "gpu.plan",
        "baselines.maskrcnn",
        "benchmark.worker",
        "benchmark.step",
    )
    code = f"import sys; sys.modules.update(dict.fromkeys({absent}))\n" + "".join(
        f"import ngat.{name}\n" for name in (*modules, "benchmark.attention", "benchmark.network")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def tree(tmp_path):
    """What is brought to a machine with a GPU, apart from the pack, and nothing else."""
    folder = tmp_path / "tree"
    ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    for name in ("ngat", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


# What is left out is the same command with other weights, and tested in tests/benchmark. FPN, which
# differs from U-Net by its name alone, is not trained in a rehearsal.
LEFT_OUT = ("predictions-unet", "predictions-fpn", "attention")
NETWORKS = ("training", "predictions-companion", "predictions-maskrcnn", "step")
ENGINES = ("kernels", "network")  # tests/engines and tests/benchmark have what they do


def test_a_rehearsal_leaves_nothing_out(tmp_path):
    every = [step.name for step in GpuPlan(60, tmp_path, rehearse=True).steps]
    assert sorted(every) == sorted((*NETWORKS, *ENGINES, *LEFT_OUT))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("asked", [NETWORKS, pytest.param(ENGINES, marks=pytest.mark.slow)])
def test_the_whole_session_in_a_rehearsal(tree, tmp_path, asked):
    """Every kind of step in small on the CPU, by the command that is given on a GPU."""
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    size += sum((ROOT / "data" / f"{name}.csv").stat().st_size for name in ("split", "image_types"))
    assert size + MOST_BYTES <= MOST_TREE
    out, work = tmp_path / "out", tmp_path / "work"
    done = subprocess.run(
        ["make", "gpu", f"OUT={out}", "MINUTES=60",
         f"GPU_PYTHON={sys.executable} tests/forked_steps.py",
         f"ARGS=--rehearse --work {work} --only {','.join(asked)}"],
        cwd=tree,
        env={k: v for k, v in os.environ.items() if k != "MAKEFLAGS"} | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    report = json.loads((out / session.REPORT).read_text()) if out.exists() else done.stderr
    assert done.returncode == 0, report
    steps = report["steps"]
    assert set(steps) == set(asked)
    for name, outcome in steps.items():
        missing = outcome["sentence"].endswith("is not installed here.")
        absent = outcome["status"] == "skipped" and (missing or name.startswith("predictions"))
        assert outcome["status"] == "done" or absent, (name, outcome)
    if asked == ENGINES:
        assert steps["network"]["status"] == "done"
        assert (out / "benchmark" / "network.csv").exists()
        return
    assert steps["training"]["status"] == "done"
    measured = json.loads((out / plan.MEASURED).read_text())
    assert measured["step"]["floor_ms"]["attention"] > 0
    assert not measured["step"]["recorded"]
    assert (out / "companion" / "best.safetensors").exists()
    assert (out / "results" / "dsb2018-val-companion-split.counts.csv").exists()
    assert any("ngat choose" in line for line in afterwards(out))
