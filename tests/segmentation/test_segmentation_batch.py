"""``ngat segment`` on files and folders: nothing is harmed or half-written, all goes on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import pytest
import roifile
import tifffile
import torch
from command import inside
from local_network import Local, clumps
from PIL import Image

from ngat.data import rle
from ngat.errors import InputError
from ngat.evaluation.scoring import read_labels
from ngat.io.labels import read_label_image
from ngat.io.outlines import filled
from ngat.io.picture import open_picture
from ngat.segmentation import batch
from ngat.segmentation.batch import Options, segment_file, summary
from ngat.segmentation.files import Input, find_inputs
from ngat.segmentation.formats import FORMATS, chosen_formats
from ngat.segmentation.network import DIAMETER
from ngat.system.files import DiskFull


@pytest.fixture(autouse=True)
def local(monkeypatch):
    """A network without weights, in place of the one that is shipped."""
    monkeypatch.setattr(Options, "network", lambda self: Local(probability=0.3, core=0.4))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three pictures in a folder and one below it, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("in/a.tif", "in/b.png", "in/sub/a.tif")):
        path = Path(name)
        path.parent.mkdir(exist_ok=True, parents=True)
        pixels = clumps((70, 90), seed=seed)
        if path.suffix == ".tif":
            size = {"resolution": (4, 2), "metadata": {"unit": "um"}, "imagej": True}
            tifffile.imwrite(path, pixels, **size)
        else:
            Image.fromarray(pixels).save(path)
    return tmp_path


def hashes(folder):
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(Path(folder).rglob("*"))
        if p.is_file()
    }


def ngat(monkeypatch, capsys, *words):
    return inside(capsys, monkeypatch, "segment", *words)


def run(out="out", words=("in",), overwrite=False, **options):
    outcomes = []
    for item in find_inputs(words, Path(out)):
        outcomes += segment_file(item, Path(out), Options(**options), overwrite=overwrite)
    return outcomes


def test_results_among_the_inputs_harm_none_of_them(folder, monkeypatch, capsys):
    before = hashes("in")
    for _ in range(2):  # the second time results lie there as well
        code, out, err = ngat(monkeypatch, capsys, "in", "--out", "in")
        assert (code, err) == (0, "")
        assert before.items() <= hashes("in").items()
    assert "0 done, 3 skipped, 0 failed" in out
    assert read_label_image("in/labels/a.tif").max() > 3


def test_what_it_did_not_write_is_left_alone(folder):
    Path("out/labels").mkdir(parents=True)
    Path("out/labels/a.tif").write_text("mine")
    Path("out/b.json").write_text("{}")
    by_name = {outcome.name: outcome for outcome in run()}
    assert by_name["sub/a"].status == "done"
    assert "a.tif: is there already and was not written by" in by_name["a"].remark
    assert "b.json: was not written by ngat segment" in by_name["b"].remark
    assert Path("out/labels/a.tif").read_text() == "mine"
    assert not Path("out/tables/a.csv").exists()  # all of a picture's files or none
    assert [p.name for p in Path("out").iterdir() if p.name.startswith(".")] == []


def test_labels_that_the_user_corrected_are_kept(folder):
    run()
    tifffile.imwrite("out/labels/a.tif", np.ones((70, 90), np.uint16))
    by_name = {outcome.name: outcome for outcome in run(overwrite=True)}
    assert "was changed since ngat wrote it" in by_name["a"].remark
    assert read_label_image("out/labels/a.tif").max() == 1
    assert by_name["b"].status == "done"


def test_a_folder_among_the_results_is_replaced_as_a_whole_or_kept(folder):
    pytest.importorskip("zarr")
    run(formats=("zarr",))
    Path("out/zarr/a.ome.zarr/0/9.9").write_text("a chunk of an earlier run")
    Path("out/zarr/b.ome.zarr/.zattrs").unlink()
    told = {outcome.name: outcome for outcome in run(formats=("zarr",), overwrite=True)}
    assert "a.ome.zarr: was changed since ngat wrote it" in told["a"].remark
    assert "b.ome.zarr: was changed since ngat wrote it" in told["b"].remark
    first = hashes("out/zarr/sub")
    assert {o.name: o.status for o in run(formats=("zarr",), overwrite=True, scale=2.0)}[
        "sub/a"
    ] == "done"
    assert len(hashes("out/zarr/sub")) == len(first)
    assert hashes("out/zarr/sub") != first


def test_a_link_to_a_picture_is_not_followed(folder):
    Path("out/labels").mkdir(parents=True)
    Path("out/labels/a.tif").symlink_to(Path("in/a.tif").resolve())
    before = hashes("in")
    assert {o.name: o.status for o in run()} == {"a": "failed", "b": "done", "sub/a": "done"}
    assert hashes("in") == before


def test_a_batch_goes_on_skips_and_tells(folder, monkeypatch, capsys):
    Path("in/bad.png").write_text("no picture")
    tifffile.imwrite("in/stack.tif", np.stack([clumps((50, 60))] * 2), photometric="minisblack")
    code, out, err = ngat(monkeypatch, capsys, "in", "--out", "out")
    assert code == 1
    assert "3 done, 0 skipped, 2 failed" in out
    assert sorted(line.split(":")[0] for line in err.splitlines()) == ["in/bad.png", "in/stack.tif"]
    times = {p: p.stat().st_mtime_ns for p in Path("out").rglob("*.tif")}
    code, out, err = ngat(monkeypatch, capsys, "in", "--out", "out")
    assert "0 done, 3 skipped, 2 failed" in out
    assert times == {p: p.stat().st_mtime_ns for p in Path("out").rglob("*.tif")}
    Path("in/bad.png").unlink()
    code, out, err = ngat(monkeypatch, capsys, "in", "--out", "out", "--page", "all", "--overwrite")
    assert (code, err) == (0, "")
    assert {p.name for p in Path("out/labels").glob("stack*")} == {
        "stack_p000.tif",
        "stack_p001.tif",
    }


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "save it as tiled TIFF"),
        (torch.OutOfMemoryError("CUDA out of memory."), "than the GPU has free; .* --device cpu"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9."),
            "than there is; save it as tiled TIFF",
        ),
        (RuntimeError("mat1 and mat2"), None),
    ],
)
def test_a_picture_without_memory_fails_and_the_rest_goes_on(folder, monkeypatch, error, says):
    predict = Local.predict

    def short(self, image, *given):
        if image.shape[0] == 70 and not short.failed:
            short.failed = True
            raise error
        return predict(self, image, *given)

    short.failed = False
    monkeypatch.setattr(Local, "predict", short)
    if says is None:
        with pytest.raises(RuntimeError, match="mat1"):
            run()
        return
    first, *others = run()
    assert first.status == "failed"
    assert re.search(says, first.remark)
    assert [other.status for other in others] == ["done", "done"]


def test_skipped_means_the_same_picture_and_options(folder):
    run()
    assert {o.status for o in run()} == {"skipped"}
    assert {o.status for o in run(formats=("labels", "rle"))} == {"done"}  # a form is new
    told = run(scale=2.0)
    assert all("with other options or weights" in outcome.remark for outcome in told)
    tifffile.imwrite("in/sub/stack.tif", np.stack([clumps((50, 60))] * 2), photometric="minisblack")
    stack = {"words": ["in/sub/stack.tif"], "out": "pages"}
    assert [run(page=page, **stack)[0].status for page in "0011"] == [
        "done",
        "skipped",
        "failed",
        "failed",
    ]
    Path("in/sub/stack.tif").unlink()
    assert {o.status for o in run(scale=2.0, overwrite=True)} == {"done"}
    before = read_label_image("out/labels/a.tif")
    tifffile.imwrite("in/a.tif", clumps((70, 90), seed=9))
    by_name = {outcome.name: outcome.status for outcome in run(scale=2.0)}
    assert by_name == {"a": "done", "b": "skipped", "sub/a": "skipped"}
    assert (read_label_image("out/labels/a.tif") != before).any()
    Path("out/labels/b.tif").unlink()
    assert {o.name: o.status for o in run(scale=2.0)}["b"] == "done"


def test_names_of_results(folder):
    names = lambda *words: [item.name for item in find_inputs(words, Path("out"))]  # noqa: E731
    assert names("in") == ["a", "b", "sub/a"]
    assert names("in/**/*.tif") == ["a", "sub/a"]
    assert names("in/a.tif", "in/b.png") == ["a", "b"]
    assert names("in/a.tif", "in/sub/a.tif") == ["a", "sub/a"]
    assert names("in/a.tif", "in", "in/a.tif") == ["a", "b", "sub/a"]
    Image.fromarray(clumps((40, 40))).save("in/A.png")
    Path("in/._b.png").write_bytes(b"left behind")
    assert names("in") == ["A_png", "a_tif", "b", "sub/a"]
    for words, says in ((["absent"], "no such file"), (["in/*.gif"], "holds no picture")):
        with pytest.raises(InputError, match=says):
            find_inputs(words, Path("out"))
    Path("slides").mkdir()
    Path("slides/a.CZI").write_bytes(b"of a microscope")
    with pytest.raises(InputError, match=r"holds no picture .*czi: .*save it as OME-TIFF"):
        find_inputs(["slides"], Path("out"))


def test_parts_of_a_job_array_are_all_pictures_each_once(folder, monkeypatch, capsys):
    for k in (1, 2):
        code, out, _ = ngat(monkeypatch, capsys, "in", "--out", "parts", "--part", f"{k}/2")
        assert code == 0
        assert f"{3 - k} done, 0 skipped, 0 failed" in out
    run(out="whole")
    assert list(hashes("parts").values()) == list(hashes("whole").values())
    assert ngat(monkeypatch, capsys, "in", "--out", "parts", "--part", "4/9") == (
        0,
        "--part 4/9: no picture of 3 falls into it.\n",
        "",
    )
    for wrong in ("0/2", "3/2", "1", "1/x"):
        code, _, err = ngat(monkeypatch, capsys, "in", "--out", "parts", "--part", wrong)
        assert (code, err.startswith(f"--part {wrong}: give K/N")) == (2, True)


def test_another_picture_of_the_same_name_is_refused(folder):
    run(words=["in/a.tif"])
    (told,) = run(words=["in/sub/a.tif"])
    assert "out/a.json: is of another picture, in/a.tif" in told.remark


def test_every_form_holds_the_same_nuclei(folder):
    """Labels, run lengths, polygons and regions, each by a reader of its own."""
    run(formats=tuple(FORMATS))
    labels = tifffile.imread("out/labels/a.tif")
    assert labels.dtype == np.uint16
    count = int(labels.max())
    assert count > 3
    by_runs = read_labels("out/rle/a.csv")["a"]
    np.testing.assert_array_equal(by_runs, labels)
    table = pd.read_csv("out/rle/a.csv")
    assert table["EncodedPixels"].tolist() == rle.encode_labels(labels)

    collection = json.loads(Path("out/geojson/a.geojson").read_text())
    found = np.zeros(labels.size, int)
    for made in collection["features"]:
        assert made["geometry"]["type"] == "Polygon"
        inside = filled([made["geometry"]["coordinates"]], *labels.shape)
        found[inside] = int(made["properties"]["name"])
    np.testing.assert_array_equal(found.reshape(labels.shape), labels)

    found = np.zeros(labels.size, int)
    with zipfile.ZipFile("out/rois/a.zip") as file:
        assert len(file.namelist()) == count
        for name in file.namelist():
            one = roifile.ImagejRoi.frombytes(file.read(name))
            parts = one.coordinates(multi=True)
            inside = filled([parts if isinstance(parts, list) else [parts]], *labels.shape)
            found[inside] = int(one.name)
    np.testing.assert_array_equal(found.reshape(labels.shape), labels)

    picture = open_picture("out/zarr/a.ome.zarr")
    np.testing.assert_array_equal(picture.stored()[:, :, 0], labels)
    assert picture.pixel_size == (0.5, 0.25)

    table = pd.read_csv("out/tables/a.csv")
    areas = np.bincount(labels.ravel())[1:]
    assert table["area_px"].tolist() == areas.tolist()
    assert table["area_um2"].tolist() == pytest.approx((areas / 8).tolist(), rel=1e-4)
    assert "major_axis_um" not in table  # pixels are twice as high as wide
    values = tifffile.imread("in/a.tif").astype(float)
    sums = np.bincount(labels.ravel(), values.ravel())[1:]
    assert table["integrated_intensity"].tolist() == pytest.approx(sums.tolist(), rel=1e-5)
    shown = np.asarray(Image.open("out/overlay/a.png"))
    assert shown.shape == (70, 90, 3)
    assert (shown == (230, 159, 0)).all(axis=2).any()
    assert shown.min() == 0  # contrast is stretched, whatever the depth
    assert shown[:, :, 2].max() > 250


def test_run_lengths_of_every_page_and_of_names_alike_have_ids_of_their_own(folder):
    for name in ("v.1", "v.2"):
        tifffile.imwrite(f"in/cells.{name}.tif", np.stack([clumps((40, 40))] * 2))
    outcomes = run(formats=("rle",), page="all")
    ids = {o.name: set(pd.read_csv(f"out/rle/{o.name}.csv")["ImageId"]) for o in outcomes}
    assert len(ids) == 7
    assert all(found == {name} for name, found in ids.items())


def test_the_record_says_how_it_was_made(folder):
    run(words=["in/a.tif"], diameter=12.0)
    record = json.loads(Path("out/a.json").read_text())
    assert record["input"] == "in/a.tif"
    assert record["input_sha256"] == hashlib.sha256(Path("in/a.tif").read_bytes()).hexdigest()
    assert record["magnification"] == pytest.approx(DIAMETER / 12, rel=0.04)
    assert record["pixel_size_um"] == [0.5, 0.25]
    assert record["thresholds"]["core"] == 0.4
    assert record["options"]["diameter"] == 12
    assert record["weights"]["sha256"] == Local.identity["sha256"]
    assert record["outputs"].keys() == {"labels/a.tif", "overlay/a.png", "tables/a.csv"}
    for name, digest in record["outputs"].items():
        assert hashlib.sha256(Path("out", name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_ends_the_batch_with_a_sentence(folder, monkeypatch, capsys, form):
    run(words=["in/a.tif"], formats=tuple(FORMATS))
    before = hashes("out")

    def full(path, found, picture, name):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setitem(FORMATS, form, FORMATS[form]._replace(write=full))
    # In turn: on several threads the finished file may not have had its turn when the disk is full.
    words = ("in", "--out", "out", "--format", "all", "--threads", "1")
    code, out, err = ngat(monkeypatch, capsys, *words)
    assert code == 2
    assert (
        err
        == "out: the disk is full; free some space, and the same command goes on where it was.\n"
    )
    assert "0 done, 1 skipped, 0 failed" in out
    assert hashes("out") == before
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Options, "network", lambda self: Local(probability=0.3, core=0.4))
    assert {o.status for o in run(formats=tuple(FORMATS))} == {"done", "skipped"}


def test_a_file_that_cannot_grow_is_a_full_disk(folder):
    """The system's own error, through every writer's library."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for form in FORMATS:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            with pytest.raises(DiskFull):
                run(out=f"out-{form}", formats=(form,))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert hashes(f"out-{form}") == {}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 192 KiB, and how to make it larger; only root may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(place)]
    try:
        subprocess.run(line, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk can be mounted here")
    try:
        yield (
            place,
            lambda size: subprocess.run(
                ["mount", "-o", f"remount,size={size}", str(place)], check=True
            ),
        )
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("in_memory", [1 << 24, 100])
def test_a_disk_that_fills_up_and_is_made_larger(folder, monkeypatch, small_disk, in_memory):
    """Results are then those of a large disk; below, planes of the maps are on the disk, too."""
    place, enlarge = small_disk
    tifffile.imwrite("in/large.tif", clumps((300, 340)))
    before = hashes("in")
    monkeypatch.setattr(batch, "IN_MEMORY", in_memory)
    (place / "other").write_bytes(bytes(100_000))
    options = {"words": ["in/large.tif"], "formats": tuple(FORMATS)}
    with pytest.raises(DiskFull, match="the disk is full; free some space"):
        run(out=place / "out", **options)
    whole = [p for p in (place / "out").rglob("*") if p.is_file() and ".ngat-tiles" not in str(p)]
    assert whole == []
    assert hashes("in") == before
    enlarge("64m")
    assert [o.status for o in run(out=place / "out", **options)] == ["done"]
    run(out="elsewhere", **options)
    found, expected = hashes(place / "out"), hashes("elsewhere")
    assert len(found) == len(expected) > len(FORMATS)
    assert list(found.values()) == list(expected.values())


@pytest.mark.parametrize("drawn", [4096, 50])  # above which labels are an OME-TIFF
def test_large_pictures_leave_nothing_behind(folder, monkeypatch, drawn):
    monkeypatch.setattr("ngat.segmentation.formats.DRAWN", drawn)
    run(out="whole", formats=("labels", "rle", "table"))
    monkeypatch.setattr(batch, "IN_MEMORY", 100)
    monkeypatch.setattr("ngat.segmentation.find.WHOLE", 0)
    tiny = {"formats": ("labels", "rle", "table"), "tile": 32}
    run(out="tiles", **tiny)
    assert [p for p in Path("tiles").rglob("*") if ".ngat" in str(p) and p.is_file()] == []
    assert tifffile.TiffFile("tiles/labels/a.tif").is_ome == (drawn == 50)
    for path in Path("whole").rglob("*"):
        if path.suffix in (".tif", ".csv"):
            assert path.read_bytes() == Path(str(path).replace("whole", "tiles")).read_bytes()


def test_two_runs_into_one_folder(folder):
    """Each writes all, or finds it written; what a killed one left behind is taken away."""
    Path("out/.a.json.parts").mkdir(parents=True)
    Path("out/.a.json.parts/0.tif").write_bytes(b"half")
    items, options = find_inputs(["in"], Path("out")), Options(formats=tuple(FORMATS))
    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(segment_file, i, Path("out"), options) for i in items for _ in "ab"]
    assert {o.status for found in work for o in found.result()} <= {"done", "skipped"}
    run(out="alone", formats=tuple(FORMATS))
    assert list(hashes("out").values()) == list(hashes("alone").values())


def test_a_large_picture_is_one_process_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(batch, "IN_MEMORY", 100)
    (item, *_), told = find_inputs(["in"], Path("out")), []

    def meanwhile(done, total):
        told.extend(segment_file(item, Path("out"), Options()))

    (outcome,) = segment_file(item, Path("out"), Options(), progress=meanwhile)
    assert outcome.status == "done"
    assert {o.status for o in told} == {"failed"}
    assert "another process works on this picture there" in told[0].remark
    assert not Path("out/.ngat-tiles").exists()


def test_the_summary_counts(folder):
    text = summary(run())
    assert text.splitlines()[0].split()[:3] == ["picture", "status", "nuclei"]
    assert text.splitlines()[-1] == "3 done, 0 skipped, 0 failed"


SIGNALLED = """
import os, signal, sys
from ngat.cli import main
from ngat.segmentation import batch
write, begun = batch.write_results, []
def write_results(*given):
    begun.append(given)
    if len(begun) == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    return write(*given)
batch.write_results = write_results
main()
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_signal_leaves_whole_files_and_the_same_command_goes_on(
    tmp_path, monkeypatch, capsys, threads
):
    """It comes as results of the third of six pictures are about to be written."""
    (tmp_path / "in").mkdir()
    for i in range(6):
        Image.fromarray(clumps((96, 96), seed=i)).save(tmp_path / f"in/{i}.png")
    line = ["in", "--format", "all", "--device", "cpu", "--threads", threads, "--out", "out"]
    code, out, err = processes.end(processes.start(SIGNALLED, "segment", *line, cwd=tmp_path))
    assert code == 130
    assert err == "Stopped; what is finished is kept, and the same command goes on.\n"
    done = out.count(" done ")
    assert 3 <= done <= 2 + int(threads)
    hidden = [path for path in (tmp_path / "out").rglob(".*") if ".zarr" not in str(path)]
    assert hidden == []
    monkeypatch.undo()  # with the shipped weights, as the other process
    monkeypatch.chdir(tmp_path)
    code, out, err = ngat(monkeypatch, capsys, *line)
    assert (code, err) == (0, "")
    assert f"{6 - done} done, {done} skipped" in out


def test_names_that_a_terminal_cannot_show(tmp_path):
    Image.fromarray(clumps((40, 40))).save(tmp_path / "zelle_α_→.png")
    Path(tmp_path / "böse_→.png").write_text("x")
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    said = subprocess.run(
        [sys.executable, "-m", "ngat", "segment", ".", "--out", "out", "--device", "cpu"],
        capture_output=True,
        cwd=tmp_path,
        env=environment,
    )
    assert said.returncode == 1, said.stderr
    assert b"1 done, 0 skipped, 1 failed" in said.stdout
    assert b"Traceback" not in said.stderr
    assert Path(tmp_path / "out/labels/zelle_α_→.tif").exists()


def test_items_are_plain():
    assert Input(Path("a.tif"), "a")._replace(name="b").name == "b"


def test_formats_are_named_one_by_one_or_by_commas():
    assert (
        chosen_formats(["labels", "rois"]) == chosen_formats(["labels, rois"]) == ("labels", "rois")
    )
    assert chosen_formats(["table,table", "labels"]) == ("table", "labels")
    assert {"labels", "geojson"} < {*chosen_formats(["rois", "all"])}
    with pytest.raises(InputError, match="Unknown format 'gif'"):
        chosen_formats(["all,gif"])


def test_links_that_lead_nowhere_or_back(folder, monkeypatch, capsys):
    Path("in/loop.png").symlink_to("loop.png")
    for name in ("l1", "l2"):  # each way in is two ways on
        Path("in", name).symlink_to(".")
    code, out, err = ngat(monkeypatch, capsys, "in", "--out", "out")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("in/loop.png: cannot be read (Too many levels of symbolic links)")
    assert "3 done, 0 skipped, 1 failed" in out
    names = [item.name for item in find_inputs(["in/**/a.tif"], Path("out"))]
    assert names == ["a", "sub/a"]
    Path("in/linked").symlink_to(Path("in/sub").resolve())
    assert [i.name for i in find_inputs(["in/linked"], Path("out"))] == ["a"]


def test_a_pipe_is_no_picture(folder, monkeypatch, capsys):
    for name in ("pipe.png", "pipe.mrxs"):
        os.mkfifo(Path("in", name))
    code, out, err = ngat(monkeypatch, capsys, "in", "--out", "out")
    assert code == 1
    assert err.count("cannot be read (it is no regular file)") == 2
    assert "3 done, 0 skipped, 2 failed" in out


def test_a_folder_that_cannot_be_read_is_passed_over(folder, monkeypatch, capsys):
    listed = Path.iterdir

    def iterdir(path):
        if path.name == "sub":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    code, out, err = ngat(monkeypatch, capsys, "in", "--out", "out")
    assert code == 1
    assert err == (
        "in/sub: cannot be read (Permission denied); give yourself the right to read it.\n"
    )
    assert "2 done, 0 skipped, 0 failed" in out
    assert ngat(monkeypatch, capsys, "in/sub", "--out", "out")[::2] == (2, err)
    # A file in it that is named may still be read.
    assert [i.name for i in find_inputs(["in/sub/a.tif"], Path("out"))] == ["a"]
    with pytest.raises(InputError, match="in/sub: cannot be read"):
        find_inputs(["in"], Path("out"))


def test_a_folder_of_results_that_cannot_be_is_said_at_once(folder, monkeypatch, capsys):
    def never(*args, **options):
        raise AssertionError("the network was run")

    monkeypatch.setattr(batch, "find_nuclei", never)
    said = ngat(monkeypatch, capsys, "in", "--out", "in/b.png")
    assert said[0] == 2
    assert said[2].startswith("in/b.png: cannot be written (")


def test_a_name_without_letters_is_no_folder(folder):
    with pytest.raises(InputError, match="name of a picture is empty; write"):
        find_inputs([""], Path("out"))
