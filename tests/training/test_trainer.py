"""Training: resumed runs equal uninterrupted ones; processes equal one; failures say so."""

import errno
import itertools
import json
import math
import os
import shutil
import signal
import socket
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import processes
import pytest
import torch
from tiny import SMALL, log_of, rings, tensors_of, tiny

from ngat.config import TrainConfig, preset
from ngat.data.synthetic import load_synthetic
from ngat.errors import InputError
from ngat.inference import predict
from ngat.metrics import pixel_dice
from ngat.model import NGAT
from ngat.system.files import DiskFull
from ngat.training import step as training_step
from ngat.training import trainer as training
from ngat.training.distributed import team
from ngat.training.run_folder import FORMAT, RunLog
from ngat.training.step import Objective, learning_rate, parameter_groups, position, seeded
from ngat.training.trainer import Trained, TrainingDiverged, TrainingInterrupted, train
from ngat.training.weights import load_weights, read_tensors, write_tensors


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


def run(out: Path, *, resume: bool = False, on_step=None, **overrides):
    """Train the tiny network on rings."""
    return train(
        tiny(**overrides),
        rings(),
        rings("val", 3),
        out,
        resume=resume,
        device="cpu",
        progress=False,
        on_step=on_step,
    )


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("log.csv", "validation.csv"):
        assert log_of(one, name) == log_of(other, name)
    for name in ("last.safetensors", "best.safetensors"):
        a, b = tensors_of(one / name), tensors_of(other / name)
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log lines of three steps, so that a checkpoint after five falls inside one."""
    monkeypatch.setattr(training, "LOG_EVERY", 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run that nothing ended early, for tests that compare with it or go on from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "LOG_EVERY", 3)
        return run(tmp_path_factory.mktemp("run") / "whole")


@pytest.mark.usefixtures("short_lines")
def test_a_killed_run_resumes_to_the_same_losses_and_weights(tmp_path: Path) -> None:
    run(tmp_path / "whole", dropout=0.3)

    def kill_at(step: int):
        def on_step(done: int) -> None:
            if done == step:
                raise Killed

        return on_step

    # Checkpoints come with validations, at steps 5 and 10: killed before the first, between them
    # (the log has a line too many by then), and just before the end.
    for step, logged in ((3, ["3"]), (9, ["3", "6", "9"]), (13, ["3", "6", "9", "12"])):
        with pytest.raises(Killed):
            run(tmp_path / "killed", resume=True, on_step=kill_at(step), dropout=0.3)
        assert [row[0] for row in log_of(tmp_path / "killed")[1:]] == logged
    run(tmp_path / "killed", resume=True, dropout=0.3)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
    # Steps 3, 6, 9, 12 and the last.
    assert [row[0] for row in log_of(tmp_path / "whole")] == ["step", "3", "6", "9", "12", "14"]


@pytest.mark.usefixtures("short_lines")
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path: Path, whole: Trained) -> None:
    def terminate(done: int) -> None:
        if done == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingInterrupted, match="after step 7; the same command with --resume"):
        run(tmp_path / "stopped", on_step=terminate)
    assert signal.getsignal(signal.SIGTERM) is before
    seen: list[int] = []
    run(tmp_path / "stopped", resume=True, on_step=seen.append)
    assert seen == list(range(8, 15))
    assert_same_run(whole.best.parent, tmp_path / "stopped")


def test_a_resumed_run_scales_float16_losses_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale doubles after every ten steps without overflow, however the run was cut."""

    def doubling(device: torch.device) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(device.type, init_scale=256.0, growth_interval=10)

    def terminate(done: int) -> None:
        if done == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training_step, "scaler", doubling)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, on_step=terminate)
    run(tmp_path, resume=True)
    _, metadata = read_tensors(tmp_path / "checkpoint.safetensors", FORMAT)
    state = json.loads(metadata["state"])
    assert (state["step"], state["scaler"]["scale"]) == (14, 512.0)


def test_a_finished_run_is_not_trained_again(tmp_path: Path, whole: Trained) -> None:
    shutil.copytree(whole.best.parent, tmp_path / "run")
    seen: list[int] = []
    again = run(tmp_path / "run", resume=True, on_step=seen.append)
    assert seen == []
    assert again.average_f1 == whole.average_f1
    history = load_weights(again.best).provenance
    assert history["thresholds"].keys() == {"components", "split"}


def test_the_logs_have_their_provenance_beside_them(whole: Trained) -> None:
    folder = whole.best.parent
    told = json.loads((folder / "provenance.json").read_text())
    kept = load_weights(folder / "last.safetensors").provenance
    assert told["steps"] == whole.steps
    assert told["hardware"]
    assert told == {key: kept[key] for key in told}


def test_a_second_stretch_starts_from_weights_and_counts_what_was_before(
    tmp_path: Path, whole: Trained
) -> None:
    start = load_weights(whole.best)
    stretch = tiny(contact=3.0, learning_rate=0.0, weight_decay=0.0)
    second = train(stretch, rings(), rings("val", 3), tmp_path / "second", device="cpu",
                   progress=False, start=start)  # fmt: skip
    found = load_weights(tmp_path / "second" / "last.safetensors")
    history = found.provenance
    assert history["before"]["minutes"] == start.provenance["minutes"]
    assert history["steps"] == start.provenance["steps"] + second.steps
    assert history["minutes"] >= start.provenance["minutes"]
    # Gone on with later, without the weights at hand, it still counts them.
    train(stretch, rings(), rings("val", 3), tmp_path / "second", device="cpu", progress=False,
          resume=True, minutes=60.0)  # fmt: skip
    again = load_weights(tmp_path / "second" / "last.safetensors").provenance
    assert again["before"] == history["before"]
    assert again["steps"] == history["steps"]
    # A rate of zero keeps the parameters that it started from.
    for name, parameter in start.model.named_parameters():
        assert torch.equal(parameter, dict(found.model.named_parameters())[name])


def test_the_loss_falls_and_the_caller_s_chance_is_spared(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    run(tmp_path, steps=60, validate_every=60, learning_rate=1e-2)
    assert torch.equal(torch.get_rng_state(), state)
    losses = [float(row[1]) for row in log_of(tmp_path)[1:]]
    assert losses[-1] < 0.8 * losses[0]


def test_coarse_steps_come_first_and_see_half_the_resolution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = []
    whole = Objective.forward

    def seen(self, image, targets):
        assert image.shape[2:] == targets.shape[2:]
        sides.append(image.shape[-1])
        return whole(self, image, targets)

    monkeypatch.setattr(Objective, "forward", seen)
    run(tmp_path, steps=5, low_resolution=0.6, validate_every=5)
    assert sides == [8, 8, 8, 16, 16]


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    run(tmp_path / "a", steps=3)
    run(tmp_path / "b", steps=3, seed=1)
    assert log_of(tmp_path / "a") != log_of(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"learning_rate": 0.5}, "other parameters .learning_rate: 0.004, now 0.5"),
        ({"resume": False}, "holds a run already; add --resume"),
    ],
)
def test_a_run_is_not_mixed_with_another(tmp_path: Path, change: dict, sentence: str) -> None:
    run(tmp_path, steps=2)
    with pytest.raises(InputError, match=sentence):
        run(tmp_path, **{"steps": 2, "resume": True, **change})


def test_a_run_from_before_a_parameter_existed_goes_on_with_its_default(tmp_path: Path) -> None:
    run(tmp_path / "whole", steps=4, validate_every=2)

    def kill(done: int) -> None:
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "old", steps=4, validate_every=2, on_step=kill)
    path = tmp_path / "old/checkpoint.safetensors"
    tensors, text = read_tensors(path, FORMAT)
    stored = json.loads(text["configuration"])
    del stored["train"]["held_out"], stored["train"]["clip"]
    stored["model"]["downsample"] = 1  # a parameter that has gone since
    write_tensors(path, tensors, FORMAT, {**text, "configuration": json.dumps(stored)})
    changed = {"steps": 4, "validate_every": 2, "resume": True}
    with pytest.raises(InputError, match=r"other parameters .clip: 1.0, now 2.0\)"):
        run(tmp_path / "old", clip=2.0, **changed)
    run(tmp_path / "old", **changed)
    assert_same_run(tmp_path / "whole", tmp_path / "old")


def test_other_pictures_are_refused(tmp_path: Path) -> None:
    run(tmp_path, steps=2)
    with pytest.raises(InputError, match="trained on other pictures"):
        train(tiny(steps=2), rings(limit=5), rings("val", 3), tmp_path, resume=True, progress=False)


def test_a_diverging_run_says_so_and_keeps_no_broken_network(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"by step \d+ the loss .* smaller learning_rate"):
        run(tmp_path, learning_rate=1e30, norm="none", steps=30)
    for path in tmp_path.glob("*.safetensors"):
        for name, tensor in tensors_of(path).items():
            assert np.isfinite(tensor).all(), (path, name)


def test_a_time_limit_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=0.1)  # a clock that goes on a tenth of a second at every look
    monkeypatch.setattr(
        training,
        "time",
        SimpleNamespace(monotonic=lambda: next(ticks), process_time=lambda: next(ticks)),
    )
    monkeypatch.setattr(training, "LOG_EVERY", 2)

    def for_minutes(minutes: float) -> Trained:
        preset = tiny(steps=1_000_000, validate_every=7)
        data = rings(), rings("val", 1)
        return train(
            preset, *data, tmp_path, minutes=minutes, resume=True, device="cpu", progress=False
        )

    done = for_minutes(0.2)
    assert 5 < done.steps < 120
    assert 0.2 <= done.minutes < 0.25
    log = log_of(tmp_path)
    rates = [float(row[log[0].index("learning_rate")]) for row in log[1:]]
    assert max(rates) > 0.9 * tiny().train.learning_rate
    assert rates[-1] < 0.02 * tiny().train.learning_rate
    assert int(log[-1][0]) == int(log_of(tmp_path, "validation.csv")[-1][0]) == done.steps

    # A finished run stays as it is, unless it is given more time: then it goes on from its middle.
    assert for_minutes(0.2) == done
    more = for_minutes(0.4)
    assert more.steps > done.steps
    assert 0.4 <= more.minutes < 0.45
    again = [float(row[log[0].index("learning_rate")]) for row in log_of(tmp_path)[len(log) :]]
    assert 0.4 < again[0] / tiny().train.learning_rate < 0.6
    assert again[-1] < 0.02 * tiny().train.learning_rate


def test_a_stopped_run_that_has_had_its_time_ends_without_a_step(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    def for_minutes(minutes: float, on_step=None) -> Trained:
        data = rings(), rings("val", 1)
        options = {"resume": True, "device": "cpu", "progress": False, "thresholds": False}
        return train(tiny(), *data, tmp_path, minutes=minutes, on_step=on_step, **options)

    with pytest.raises(TrainingInterrupted, match="after step 3"):
        for_minutes(5, stop)
    assert for_minutes(1e-5).steps == 3
    assert [row[0] for row in log_of(tmp_path)] == ["step", "3"]


@pytest.mark.parametrize("kind", ["balanced", "bce"])
def test_two_processes_equal_one(tmp_path: Path, kind: str) -> None:
    """The same batch, half in each process: the same losses, gradients and weights."""
    # Weight decay acts on parameters without gradient (bce has some) in the one case only.
    same = {"steps": 10, "kind": kind, "weight_decay": 0.0}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import sys; from pathlib import Path; from test_trainer import run; "
        "run(Path('two'), **eval(sys.argv[1]))"
    )
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    team = [
        processes.start(code, same, cwd=tmp_path, RANK=rank, LOCAL_RANK=rank, **meeting)
        for rank in "01"
    ]
    try:
        run(tmp_path / "one", **same)
        for process in team:
            code, _, err = processes.end(process)
            assert code == 0, err
    finally:
        for process in team:  # one that waits for the other in vain
            process.kill()
    one, two = (log_of(tmp_path / name) for name in ("one", "two"))
    assert one[0] == two[0]
    np.testing.assert_allclose(
        *(np.array([[x or 0 for x in row] for row in log[1:]], dtype=float) for log in (one, two)),
        rtol=2e-4,
    )
    one, two = (tensors_of(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    for key in one:
        # A step of Adam is about the rate, whatever the gradient: 0.004 would be a wrong one.
        np.testing.assert_allclose(one[key], two[key], atol=4e-4, err_msg=key)


def test_the_rate_rises_falls_and_ends_at_zero() -> None:
    config = TrainConfig(steps=100, learning_rate=2.0, warmup=0.1)
    assert learning_rate(0.05, config) == pytest.approx(1.0)
    assert learning_rate(0.1, config) == pytest.approx(2.0)
    assert learning_rate(0.55, config) == pytest.approx(1.0)
    assert learning_rate(1.0, config) == pytest.approx(0.0)
    assert position(10, 0.0, None, config) == pytest.approx(0.105)
    assert position(10, 30.0, 1.0, config) == pytest.approx(0.5)
    assert position(90, 30.0, 1.0, config) == pytest.approx(0.905)
    assert learning_rate(0.0, TrainConfig(warmup=0.0)) == TrainConfig().learning_rate


def test_only_matrices_decay() -> None:
    model = NGAT(tiny(plasticity="table").model)
    decaying, free = parameter_groups(model, 0.1)
    assert (decaying["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert len(decaying["params"]) + len(free["params"]) == len(list(model.parameters()))
    assert all(p.ndim == 2 for p in decaying["params"])
    names = {id(p): name for name, p in model.named_parameters()}
    assert not any("terms" in names[id(p)] or "table" in names[id(p)] for p in decaying["params"])


def test_seeded_chance_depends_on_all_numbers() -> None:
    def drawn(*seed: int) -> float:
        with seeded(torch.device("cpu"), *seed):
            return float(torch.rand(()))

    assert drawn(1, 2) == drawn(1, 2)
    assert len({drawn(1, 2), drawn(2, 1), drawn(1), drawn(1, 2, 0)}) == 4


def test_a_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = RunLog(path, ["step", "loss"])
    for step in (10, 20, 30):
        log.write(step, [1 / step])
    path.write_text(path.read_text() + "4")  # killed while it wrote
    RunLog(path, ["step", "loss"], step=20).write(25, [None])
    assert path.read_text() == "step,loss\n10,0.1\n20,0.05\n25,\n"
    with pytest.raises(InputError, match="other columns"):
        RunLog(path, ["step", "dice"], step=20)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_senseless_time_limit_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(InputError, match="minutes must be a positive number"):
        train(tiny(), rings(), rings("val", 1), tmp_path, minutes=value)


@pytest.mark.parametrize(
    ("left_over", "sentence"),
    [
        ({"WORLD_SIZE": "4"}, "set to 4 without RANK, MASTER_ADDR, MASTER_PORT; start several"),
        ({"WORLD_SIZE": "4", "RANK": "1", "MASTER_ADDR": "x"}, "without MASTER_PORT"),
        ({"WORLD_SIZE": "many"}, "set to many without RANK"),
        ({"WORLD_SIZE": "", "RANK": "0"}, "unset WORLD_SIZE"),
        ({"WORLD_SIZE": "4", "RANK": "4", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "whole numbers"),
        ({"WORLD_SIZE": "4", "RANK": "a", "MASTER_ADDR": "x", "MASTER_PORT": "1"}, "whole numbers"),
    ],
)
def test_what_a_cluster_s_job_left_over_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_over: dict, sentence: str
) -> None:
    for name, value in left_over.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=sentence):
        run(tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_rank_left_over_alone_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "3")
    with team("cpu") as members:
        assert (members.rank, members.world) == (0, 1)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_that_cannot_meet_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    """The first waits for a second that does not come, the second finds no first."""
    monkeypatch.setattr("ngat.training.distributed.MEETING", timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    there = {"WORLD_SIZE": "2", "RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"cannot be reached at MASTER_ADDR 127.*; start several"):
        run(Path("never"))


TRAIN = """
import sys, time
from datetime import timedelta
from pathlib import Path
from test_trainer import run
from ngat.errors import InputError
def on_step(done):
    Path("begun").touch()
    while not Path("go").exists(): time.sleep(0.01)
try:
    run(Path("o"), seed=int(sys.argv[1]), steps=4, engine="reference", on_step=on_step)
except InputError as error:
    sys.exit(str(error))
"""


def test_a_folder_belongs_to_one_training(tmp_path: Path) -> None:
    """Else configuration and weights of two runs are mixed, and nobody notices."""
    first = processes.start(TRAIN, 0, cwd=tmp_path)
    processes.wait_for((tmp_path / "begun").exists, first)
    code, _, err = processes.end(processes.start(TRAIN, 1, cwd=tmp_path))
    assert code == 1
    assert err.strip() == (
        "o: another process works on a training run there; wait for it, or choose another folder."
    )
    (tmp_path / "go").touch()
    assert processes.end(first)[0] == 0
    assert json.loads((tmp_path / "o/config.json").read_text())["train"]["seed"] == 0
    assert load_weights(tmp_path / "o/best.safetensors").preset.train.seed == 0
    assert not (tmp_path / "o/.lock").exists()


def test_a_lock_left_by_a_kill_holds_nobody(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o/.lock").touch()
    run(tmp_path / "o", steps=1)


@pytest.mark.parametrize("name", ["log.csv", "checkpoint.safetensors", "best.safetensors"])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Trained, name: str
) -> None:
    """As the operating system reports it, at a later write of each file."""
    seen = itertools.count()

    def full(real):
        def opened(self, *arguments, **options):
            if name in str(self) and next(seen) >= 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(self, *arguments, **options)

        return opened

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full(Path.open))
        patch.setattr(training, "LOG_EVERY", 1)
        with pytest.raises(DiskFull, match=rf"{name}: cannot be written \(No space left"):
            run(tmp_path / "full")
    assert not list((tmp_path / "full").glob(".*")), "nothing half written is left"
    run(tmp_path / "full", resume=True)
    folders = whole.best.parent, tmp_path / "full"
    a, b = (tensors_of(folder / "last.safetensors") for folder in folders)
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.slow
def test_smoke_learns_synthetic_nuclei(tmp_path: Path) -> None:
    """Dice above 0.85 on held-out pictures in the few minutes of the smoke preset."""
    best = train(
        preset("smoke"), load_synthetic("train"), load_synthetic("val"), tmp_path, device="cpu"
    ).best
    model = load_weights(best).model
    test = load_synthetic("test")
    dice = [pixel_dice(predict(model, s.image).probability > 0.5, s.labels > 0) for s in test]
    assert np.mean(dice) > 0.85


assert SMALL["steps"] == 14, "the steps named in this file"
