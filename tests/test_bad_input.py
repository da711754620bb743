"""Two hundred broken files: an answer or one sentence, no traceback, no hang, bounded memory.

Every row of the table of faults that users met before this reader is among them or in the tests
beside it (``test_io_picture``, ``test_io_labels``, ``test_segmentation_batch``, ``test_weights``).
"""

from __future__ import annotations

import io
import json
import resource
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from local_network import Local
from pictures import SHAPE, colour, grey
from PIL import Image
from tiny import tiny

from ngat.errors import InputError
from ngat.evaluation.scoring import read_labels
from ngat.io.labels import read_label_image
from ngat.model import NGAT
from ngat.segmentation.batch import Options, segment_file
from ngat.segmentation.files import Input
from ngat.training.weights import load_weights, save_weights

# Of the processor, not of the clock: other programs may be running.
SECONDS = 10.0


def saved(save) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()


def tiff(pixels, **options) -> bytes:
    return saved(lambda file: tifffile.imwrite(file, pixels, **options))


def image(pixels, form, **options) -> bytes:
    return saved(lambda file: Image.fromarray(pixels).save(file, form, **options))


def wholes() -> dict[str, bytes]:
    """Good files of every kind."""
    rows = b"".join(b"\0" + bytes(4096) for _ in range(4096))
    return {
        "a.png": image(colour(), "PNG"),
        "deep.png": image(grey(high=60000, dtype=np.uint16), "PNG"),
        "a.jpg": image(colour(), "JPEG"),
        "cmyk.jpg": saved(lambda f: Image.fromarray(colour()).convert("CMYK").save(f, "JPEG")),
        "palette.png": saved(lambda f: Image.fromarray(colour()).quantize(60).save(f, "PNG")),
        "a.tif": tiff(grey(dtype=np.uint16)),
        "tiles.tif": tiff(colour(), tile=(16, 16), compression="zlib", photometric="rgb"),
        "lzw.tif": tiff(grey(), compression="lzw"),
        "ome.tif": tiff(np.stack([grey()] * 2), ome=True, metadata={"axes": "CYX"}),
        "imagej.tif": tiff(np.stack([grey()] * 2), imagej=True, metadata={"axes": "ZYX"}),
        "float64.tif": tiff(grey() / 3 - 20),
        "flat.png": png(4096, 4096, zlib.compress(rows)),
    }


def png(width, height, data, depth=8, kind=0) -> bytes:
    """A PNG of whatever is put into it."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def made_up() -> dict[str, bytes]:
    """Files that are strange rather than damaged."""
    floats = np.linspace(-5, 5, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    rows = zlib.compress(bytes(10**7))
    return {
        "zero.png": b"",
        "zero.tif": b"",
        "text.jpg": b"hello",
        "name.tif": image(colour(), "PNG"),
        "name.png": tiff(grey()),
        "bomb.png": png(60000, 60000, rows),
        "wide.png": png(2**31 - 1, 1, rows),
        "none.png": png(0, 7, rows),
        "line.tif": tiff(np.arange(500, dtype=np.uint16)[None]),
        "column.tif": tiff(np.arange(500, dtype=np.uint16)[:, None]),
        "point.png": image(np.full((1, 1), 9, np.uint8), "PNG"),
        "nan.tif": tiff(np.where(floats > 4, np.nan, floats).astype(np.float32)),
        "inf.tif": tiff(np.where(floats > 4, np.inf, floats)),
        "huge.tif": tiff(floats * 1e300),
        "tiny.tif": tiff(floats * 1e-300),
        "complex.tif": tiff(floats.astype(np.complex64)),
        "negative.tif": tiff((floats * 1000).astype(np.int16)),
        "int32.tif": tiff((floats * 1e8).astype(np.int32)),
        "uint64.tif": tiff((floats + 5).astype(np.uint64) << np.uint64(60)),
        "bool.tif": tiff(floats > 0),
        "two.tif": tiff(np.dstack([floats, floats]).astype(np.float32), photometric="minisblack"),
        "five.tif": tiff(np.stack([grey()] * 5), photometric="minisblack"),
        "inks.tif": tiff(np.dstack([colour(), grey()]), photometric="separated"),
        "lab.tif": tiff(colour(), photometric="cielab"),
        "white.tif": tiff(grey(), photometric="miniswhite"),
    }


def mutations(seed: int = 0):
    """Names and bytes of pictures: cut short, bits flipped, pieces swapped or repeated."""
    rng = np.random.default_rng(seed)
    yield from made_up().items()
    good = wholes()
    yield from good.items()
    names = list(good)
    for i in range(130):
        name = names[i % len(names)]
        data = bytearray(good[name])
        kind = i % 5
        if kind == 0:
            data = data[: int(rng.integers(1, len(data)))]
        elif kind in (1, 2):  # most of what can go wrong is said at the beginning
            reach = len(data) if kind == 1 else min(len(data), 300)
            for place in rng.integers(0, reach, int(rng.integers(1, 9))):
                data[place] ^= 1 << int(rng.integers(8))
        elif kind == 3:
            at, length = (int(n) for n in rng.integers(0, len(data), 2))
            data[at : at + length] = bytes(rng.integers(0, 256, min(length, 99), dtype=np.uint8))
        else:
            at = int(rng.integers(0, len(data)))
            data = data[at:] + data[:at]
        yield f"{i}-{name}", bytes(data)


def test_broken_pictures_get_an_answer_or_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(Options, "network", lambda self: Local(probability=0.4))
    counts = {"done": 0, "failed": 0}
    for name, data in mutations():
        path = tmp_path / name
        path.write_bytes(data)
        began = time.process_time()
        options = Options(page="0", formats=("labels",))
        (outcome,) = segment_file(Input(path, name), tmp_path / "out", options)
        assert time.process_time() - began < SECONDS, name
        counts[outcome.status] += 1
        if outcome.status == "failed":
            assert str(path) in outcome.remark, name
            assert "\n" not in outcome.remark, name
        assert path.read_bytes() == data
    assert counts["done"] > 20
    assert counts["failed"] > 60
    assert sum(counts.values()) > 160
    # Kilobytes on Linux; torch alone takes half a gigabyte.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3 << 20


def refused(reader, path) -> bool:
    """Did the reader refuse the file, with one sentence that names it?"""
    began = time.process_time()
    try:
        reader(path)
    except InputError as error:
        told = str(error)
        return (
            bool(str(path) in told) and "\n" not in told and time.process_time() - began < SECONDS
        )
    assert time.process_time() - began < SECONDS
    return False


@pytest.mark.parametrize(
    "runs",
    [
        "1 2 3",
        "1 -3",
        "0 4",
        "1 99999",
        "9" * 30 + " 1",
        "1 1e3",
        "1.5 2",
        "a b",
        "١ 2",
        "5 3 6 3",
        "1 0",
    ],
)
def test_broken_runs(tmp_path, runs):
    path = tmp_path / "a.csv"
    path.write_text(f"ImageId,EncodedPixels,Height,Width\na,{runs},9,9\n")
    assert refused(read_labels, path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ImageId\na\n",
        "ImageId,EncodedPixels,Height,Width\na,1 3,1000000000,1000000000\n",
        "ImageId,EncodedPixels,Height,Width\na,1 3,-4,9\n",
        "ImageId,EncodedPixels,Height,Width\na,1 3,x,9\n",
        "ImageId,EncodedPixels,Height,Width\na,1 3,9,9\na,4 2,9,8\n",
        'ImageId,EncodedPixels,Height,Width\n"a,1 3,9,9\n',
        "ImageId,EncodedPixels\na,1 3\n",
    ],
)
def test_broken_tables(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert refused(read_labels, path)


def test_broken_label_headers(tmp_path):
    whole = saved(lambda file: np.save(file, np.eye(9, dtype=np.int32)))
    rng = np.random.default_rng(1)
    seen = 0
    for i in range(25):
        data = bytearray(whole)
        data[int(rng.integers(0, 120))] = int(rng.integers(256))
        path = tmp_path / f"{i}.npy"
        path.write_bytes(data[: int(rng.integers(60, len(data)))] if i % 2 else data)
        seen += refused(read_label_image, path)
    assert seen > 12


def test_broken_weights(tmp_path):
    good, path = tmp_path / "good", tmp_path / "w.safetensors"
    save_weights(good, NGAT(tiny().model), tiny(), {})
    whole = good.read_bytes()
    rng = np.random.default_rng(2)
    for i in range(25):
        data = bytearray(whole)
        if i % 3 == 0:
            data = data[: int(rng.integers(1, len(data)))]
        else:
            reach = len(data) if i % 3 == 1 else 3000
            data[int(rng.integers(0, reach))] ^= 1 << int(rng.integers(8))
        if bytes(data) == whole:
            continue
        path.write_bytes(data)
        assert refused(load_weights, path), i
    head = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}})
    path.write_bytes(struct.pack("<Q", len(head)) + head.encode())
    assert refused(load_weights, path)
    path.write_bytes(b"\x80\x04\x95" + b"cos\nsystem\n(S'echo'\ntR." + bytes(99))  # a pickle
    assert refused(load_weights, Path(path))
