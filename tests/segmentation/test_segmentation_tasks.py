"""Tiles and files on threads and on a cluster: the same nuclei, also when a worker is killed."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from local_network import Local, clumps

from ngat.errors import InputError
from ngat.io.picture import open_picture
from ngat.io.stack import reading
from ngat.segmentation import batch, tasks
from ngat.segmentation.batch import Options, segment_file, segment_files
from ngat.segmentation.files import Input, find_inputs
from ngat.segmentation.tasks import Tasks, connect, usual_threads


class Bright(Options):
    """Options whose network needs no weights, in whatever process they arrive."""

    def network(self):
        return Local(probability=0.3, core=0.4)


@pytest.fixture
def cores():
    """Torch with four threads of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield 4
    torch.set_num_threads(before)


def test_two_tasks_are_done_at_once(cores):
    """Each waits for the other; and torch has as many threads in each as leaves no core two."""
    meeting = threading.Barrier(2, timeout=60)

    def work(item):
        meeting.wait()
        return item, torch.get_num_threads()

    found = []
    Tasks(2).run(work, list("abcd"), found.append)
    assert sorted(found) == [(item, 2) for item in "abcd"]
    assert torch.get_num_threads() == cores
    Tasks(1).run(lambda item: found.append(torch.get_num_threads()), ["e"], lambda _: None)
    assert found[-1] == cores
    assert usual_threads() == min(cores, tasks.MOST)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_was_finished_is_told_before_the_end(threads):
    """Stopped after the first task: no thread works on, and none of its results is forgotten."""
    finished, told = [], []

    def work(item):
        time.sleep(0.02)
        finished.append(item)
        return item

    with pytest.raises(KeyboardInterrupt):
        Tasks(threads, stopped=lambda: True).run(work, range(20), told.append)
    assert 1 <= len(told) <= threads + 1
    assert sorted(told) == sorted(finished)
    time.sleep(0.1)
    assert len(told) == len(finished)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_task_that_fails_ends_the_others_with_its_own_error(threads):
    def work(item):
        if item == 3:
            raise InputError("a tile that cannot be read")
        return item

    told = []
    with pytest.raises(InputError, match="cannot be read"):
        Tasks(threads).run(work, range(50), told.append)
    assert 3 not in told
    assert len(told) < 50


@pytest.mark.parametrize("in_memory", [1 << 24, 100])
def test_threads_change_nothing(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(batch, "IN_MEMORY", in_memory)
    monkeypatch.setattr("ngat.segmentation.find.WHOLE", 0)
    tifffile.imwrite(tmp_path / "a.tif", clumps((200, 300)), compression="zlib")
    item, options = Input(tmp_path / "a.tif", "a"), Bright(tile=64, formats=("labels", "table"))
    (alone,) = segment_file(item, tmp_path / "alone", options)
    steps = []
    (shared,) = segment_file(
        item,
        tmp_path / "shared",
        options,
        tasks=Tasks(3),
        progress=lambda *step: steps.append(step),
    )
    assert shared == alone
    assert shared.nuclei > 10
    assert [done for done, _ in steps[:-1]] == list(range(1, steps[0][1]))
    for name in ("labels/a.tif", "tables/a.csv"):
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_threads_that_were_stopped_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "IN_MEMORY", 100)
    monkeypatch.setattr("ngat.segmentation.find.WHOLE", 0)
    tifffile.imwrite(tmp_path / "a.tif", clumps((200, 300)))
    item, options = Input(tmp_path / "a.tif", "a"), Bright(tile=64, formats=("labels",))
    segment_file(item, tmp_path / "alone", options)
    for stops in (2, 5, 9, 99):
        asked = iter(range(99))
        run = Tasks(2, stopped=lambda asked=asked, stops=stops: next(asked) >= stops)
        if stops < 99:
            with pytest.raises(KeyboardInterrupt):
                segment_file(item, tmp_path / "out", options, tasks=run)
            assert not (tmp_path / "out/labels").exists()
        else:
            segment_file(item, tmp_path / "out", options, tasks=run)
    labels = [(tmp_path / out / "labels/a.tif").read_bytes() for out in ("alone", "out")]
    assert labels[0] == labels[1]


def test_readers_of_several_threads_leave_warnings_as_they_were(tmp_path):
    """The fault of catch_warnings: who leaves last restores what the first had silenced."""
    before, log = list(warnings.filters), logging.getLogger("tifffile")
    first, second = threading.Event(), threading.Event()

    def early():
        with reading("a"):
            first.set()
            second.wait(60)

    thread = threading.Thread(target=early)
    thread.start()
    first.wait(60)
    with reading("b"):
        second.set()
        thread.join()
        warnings.warn("not seen", stacklevel=1)
    assert (warnings.filters, log.disabled) == (before, False)
    with pytest.raises(InputError):
        open_picture(tmp_path / "absent.tif")
    assert (warnings.filters, log.disabled) == (before, False)


@pytest.fixture(scope="module")
def client():
    """Two worker processes with the tests' modules."""
    distributed = pytest.importorskip("distributed")
    here, before = Path(__file__).parent, os.environ.get("PYTHONPATH")
    paths = [str(here.parents[1]), str(here.parent), str(here), *([before] if before else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    try:
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as local:
            yield connect(local.scheduler_address)
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


class Killing(Tasks):
    """Tasks of a cluster, one of whose workers is killed."""

    def run(self, work, items, done):
        super().run(partial(killing, Path.cwd(), work), items, done)


def killing(folder, work, number):
    """The work of a tile; the first worker that comes to tile 3 is killed before it is done."""
    if number == 3:
        try:
            (folder / "killed").touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    work(number)


@pytest.mark.timeout(600)
def test_a_killed_worker_changes_nothing(client, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "IN_MEMORY", 100)
    monkeypatch.setattr("ngat.segmentation.find.WHOLE", 0)
    tifffile.imwrite(tmp_path / "a.tif", clumps((200, 300)))
    item, options = Input(tmp_path / "a.tif", "a"), Bright(tile=64, formats=("labels", "table"))
    (alone,) = segment_file(item, tmp_path / "alone", options)
    monkeypatch.chdir(tmp_path)
    (shared,) = segment_file(item, tmp_path / "shared", options, tasks=Killing(client=client))
    assert (tmp_path / "killed").exists()
    assert shared == alone
    assert shared.nuclei > 10
    for name in ("labels/a.tif", "tables/a.csv"):
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    for seed in range(3):
        tifffile.imwrite(tmp_path / f"in{seed}.tif", clumps((60, 70), seed=seed))
    items = find_inputs([str(tmp_path / "in*.tif")], tmp_path / "out")
    outcomes = []
    segment_files(items, tmp_path / "out", options, outcomes.extend, tasks=Tasks(client=client))
    assert sorted((o.name, o.status) for o in outcomes) == [(f"in{i}", "done") for i in range(3)]
    labels = [tifffile.imread(tmp_path / f"out/labels/in{i}.tif") for i in range(3)]
    assert all(np.max(found) > 1 for found in labels)


def test_no_scheduler_is_said():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="there is no such scheduler"):
        connect("nothing://here")
    assert tasks.RETRIES > 0
