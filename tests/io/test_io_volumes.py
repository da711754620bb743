"""OME-Zarr and slides, where their readers are installed."""

from __future__ import annotations

import builtins
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from pictures import SHAPE, colour, grey

from ngat.errors import InputError, MissingDependency
from ngat.io.picture import open_picture, open_pictures
from ngat.io.pyramid import write_labels


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(tmp_path, version):
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    pixels = np.stack([grey(), grey() // 2])[None, :, None]
    for name, step in (("0", 1), ("1", 2)):
        part = np.ascontiguousarray(pixels[..., ::step, ::step])
        root.create_array(name, data=part, chunks=(1, 1, 1, 16, 16))
    axes = [{"name": n, "unit": "nanometer" if n in "yx" else None} for n in "tczyx"]
    scales = [[1, 1, 1, 500 * k, 250 * k] for k in (1, 2)]
    datasets = [
        {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for i, scale in enumerate(scales)
    ]
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    described = {"multiscales": multiscales, "omero": {"channels": [{"label": "DAPI"}, {}]}}
    root.attrs.update({"ome": described} if version == 3 else described)
    with pytest.raises(InputError, match=r"2 channels .*DAPI"):
        open_picture(tmp_path / "a.zarr")
    picture = open_picture(tmp_path / "a.zarr", channel=1)
    assert picture.shape == SHAPE
    assert picture.pixel_size == (0.5, 0.25)
    np.testing.assert_array_equal(picture.read(), grey() // 2)
    part = picture.read(slice(3, 40), slice(20, 61))
    np.testing.assert_array_equal(part, (grey() // 2)[3:40, 20:61])
    assert open_picture(tmp_path / "a.zarr", channel=0, level=1).shape == (24, 32)
    with pytest.raises(InputError, match="has no level 2; choose --level 0 to 1"):
        open_picture(tmp_path / "a.zarr", channel=0, level=2)


@pytest.mark.parametrize("size", [None, (0.5, 0.25)])
@pytest.mark.parametrize("shape", [(40, 60), (1025, 2300)])
def test_labels_are_written_with_smaller_copies(tmp_path, shape, size):
    zarr = pytest.importorskip("zarr")
    labels = np.random.default_rng(0).integers(0, 70000, shape, dtype=np.uint32)
    asked = []

    def read(rows):
        asked.append(rows)
        return labels[rows]

    write_labels(tmp_path / "a.ome.zarr", read, shape, labels.dtype, size)
    assert max(rows.stop - rows.start for rows in asked) <= 512
    root = zarr.open(tmp_path / "a.ome.zarr", mode="r")
    described = root.attrs["multiscales"][0]
    assert described["version"] == "0.4"
    assert [axis["name"] for axis in described["axes"]] == ["y", "x"]
    levels = len(described["datasets"])
    assert levels == (1 if shape[1] == 60 else 3)
    for level in range(levels):
        picture = open_picture(tmp_path / "a.ome.zarr", level=level)
        step = 2**level
        np.testing.assert_array_equal(root[str(level)][:], np.asarray(picture.stored()[:, :, 0]))
        np.testing.assert_array_equal(root[str(level)][:], labels[::step, ::step])
        assert picture.pixel_size == (None if size is None else (0.5 * step, 0.25 * step))


@pytest.mark.parametrize("end", ["error", "signal"])
def test_nothing_is_written_after_the_end(tmp_path, monkeypatch, end):
    """What zarr has under way in its threads does not come to a folder that was removed."""
    pytest.importorskip("zarr")
    make, path = Path.mkdir, tmp_path / "a.ome.zarr"
    started = []

    def mkdir(folder, *args, **options):
        if folder == path / "0" / "0":  # of the first four chunks
            started.append(folder)
            if len(started) == 1:
                if end == "error":
                    raise OSError("full")
                os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(0.2)
        return make(folder, *args, **options)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "mkdir", mkdir)
            with pytest.raises(OSError if end == "error" else KeyboardInterrupt):
                write_labels(
                    path, lambda r: np.ones((512, 2048), int), (512, 2048), np.dtype(int), None
                )
            assert started
            shutil.rmtree(path)
            time.sleep(0.5)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not path.exists()


def test_folders_that_are_no_picture(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.open_group(tmp_path / "plate.zarr", mode="w").attrs["plate"] = {}
    with pytest.raises(InputError, match="holds no single image; give a folder inside it"):
        open_picture(tmp_path / "plate.zarr")
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr/zarr.json").write_text("{")
    with pytest.raises(InputError, match=r"broken\.zarr: not a readable"):
        open_picture(tmp_path / "broken.zarr")


def test_slides_by_openslide(tmp_path):
    pytest.importorskip("openslide")
    pixels = np.tile(colour(), (8, 8, 1))
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(64, 64), photometric="rgb")
    os.replace(tmp_path / "a.tif", tmp_path / "a.svslide")
    picture = open_picture(tmp_path / "a.svslide")
    np.testing.assert_array_equal(picture.read(slice(9, 99)), pixels[9:99])
    with pytest.raises(InputError, match="has no level 1; choose --level 0 to 0"):
        open_picture(tmp_path / "a.svslide", level=1)
    (tmp_path / "b.mrxs").write_text("x")
    with pytest.raises(InputError, match=r"b\.mrxs: "):
        open_picture(tmp_path / "b.mrxs")


@pytest.mark.parametrize("pages", [1, 3])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_threads_share_a_file(tmp_path, monkeypatch, tile, pages):
    pixels = np.random.default_rng(0).integers(0, 256, (pages, 96, 128), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels,
        tile=tile,
        rowsperstrip=None if tile else 8,
        compression="zlib",
        photometric="minisblack",
    )
    seek = tifffile.FileHandle.seek

    def slow_seek(file, *where):
        found = seek(file, *where)
        time.sleep(0.0005)  # another thread moves the file's place here, unless it has to wait
        return found

    pictures = [open_picture(tmp_path / "a.tif", page=0)] * 2
    if pages > 1:  # pages of one file that is open once
        pictures = list(open_pictures(tmp_path / "a.tif"))[1:]
    monkeypatch.setattr(tifffile.FileHandle, "seek", slow_seek)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda picture: picture.read(), pictures * 4))
    expected = pixels[1:] if pages > 1 else pixels[[0, 0]]
    for number, picture in enumerate(found):
        np.testing.assert_array_equal(picture, expected[number % 2])


@pytest.mark.parametrize(("name", "module"), [("a.zarr", "zarr"), ("a.mrxs", "openslide")])
def test_a_reader_that_is_not_installed_is_named(tmp_path, monkeypatch, name, module):
    if module == "zarr":
        (tmp_path / name).mkdir()
        (tmp_path / name / ".zgroup").write_text("{}")
    real = builtins.__import__

    def without(wanted, *rest, **more):
        if wanted == module:
            raise ModuleNotFoundError(wanted)
        return real(wanted, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match="pip install"):
        open_picture(tmp_path / name)
