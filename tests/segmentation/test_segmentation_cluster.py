"""Tiles and files on a cluster: the same nuclei, also when a worker is killed in mid-run."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from local_network import Local, clumps

from ngat.errors import InputError
from ngat.segmentation import batch, cluster
from ngat.segmentation.batch import Options, segment_file
from ngat.segmentation.cluster import connect, files_on, tiles_on
from ngat.segmentation.inputs import Input, find_inputs

distributed = pytest.importorskip("distributed")


class Bright(Options):
    """Options whose network needs no weights, in whatever process they arrive."""

    def network(self):
        return Local(probability=0.3, core=0.4)


@pytest.fixture(scope="module")
def client():
    """Two worker processes with the tests' modules."""
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


def killing(folder, work, job, number):
    """The work of a tile; the first worker that comes to tile 3 is killed before it is done."""
    if number == 3:
        try:
            (folder / "killed").touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    work(job, number)


@pytest.mark.timeout(600)
def test_a_killed_worker_changes_nothing(client, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "IN_MEMORY", 100)
    monkeypatch.setattr("ngat.segmentation.find.WHOLE", 0)
    tifffile.imwrite(tmp_path / "a.tif", clumps((200, 300)))
    item, options = Input(tmp_path / "a.tif", "a"), Bright(tile=64, formats=("labels", "table"))
    (alone,) = segment_file(item, tmp_path / "alone", options)
    run = tiles_on(client, item.path, options)

    def tiles(work, job, numbers):
        yield from run(partial(killing, tmp_path, work), job, numbers)

    (shared,) = segment_file(item, tmp_path / "shared", options, tiles=tiles)
    assert (tmp_path / "killed").exists()
    assert shared == alone
    assert shared.nuclei > 10
    for name in ("labels/a.tif", "tables/a.csv"):
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    for seed in range(3):
        tifffile.imwrite(tmp_path / f"in{seed}.tif", clumps((60, 70), seed=seed))
    items = find_inputs([str(tmp_path / "in*.tif")], tmp_path / "out")
    done = files_on(client, items, tmp_path / "out", options, False)
    outcomes = [outcome for some in done for outcome in some]
    assert sorted((o.name, o.status) for o in outcomes) == [(f"in{i}", "done") for i in range(3)]
    labels = [tifffile.imread(tmp_path / f"out/labels/in{i}.tif") for i in range(3)]
    assert all(np.max(found) > 1 for found in labels)


def test_no_scheduler_is_said(monkeypatch):
    with pytest.raises(InputError, match="there is no such scheduler"):
        connect("nothing://here")
    assert cluster.RETRIES > 0
