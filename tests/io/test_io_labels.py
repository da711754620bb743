"""Label images: every form gives the same labels, and what is none is told."""

from __future__ import annotations

import io
import re
import struct

import numpy as np
import pytest
import tifffile
from pictures import discs
from PIL import Image

from ngat.errors import InputError
from ngat.evaluation.scoring import read_labels, score
from ngat.io.labels import read_label_image


def labels(dtype=np.uint16):
    found = discs().astype(dtype)
    found[found == 2] = 40  # numbers need not be dense
    return found


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32])
def test_tiff_in_any_compression(tmp_path, dtype, compression):
    tifffile.imwrite(tmp_path / "a.tif", labels(dtype), compression=compression)
    found = read_label_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, labels())


def test_png_and_npy(tmp_path):
    Image.fromarray(labels(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(labels()).save(tmp_path / "b.png")
    indexed = Image.fromarray(labels(np.uint8))
    indexed.putpalette(np.random.default_rng(0).integers(0, 255, 768, dtype=np.uint8).tobytes())
    assert indexed.mode == "P"
    indexed.save(tmp_path / "c.png")
    np.save(tmp_path / "d.npy", labels(np.int64))
    for name in ("a.png", "b.png", "c.png", "d.npy"):
        np.testing.assert_array_equal(read_label_image(tmp_path / name), labels(), err_msg=name)


def test_white_is_zero_changes_no_label(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", labels(), photometric="miniswhite")
    np.testing.assert_array_equal(read_label_image(tmp_path / "a.tif"), labels())


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_labels_are_turned_as_pictures_are(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(labels(np.uint8)).save(tmp_path / "a.png", exif=exif)
    tags = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", labels(np.uint8), extratags=tags)
    turns = {3: 2, 6: 3, 8: 1}[orientation]
    for name in ("a.png", "a.tif"):
        np.testing.assert_array_equal(read_label_image(tmp_path / name), np.rot90(labels(), turns))


@pytest.mark.parametrize("inside", [1, 255, True])
def test_a_mask_is_not_one_nucleus(tmp_path, inside):
    mask = (discs() > 0).astype(np.uint8) * np.uint8(inside)
    mask = mask.astype(bool) if inside is True else mask
    np.save(tmp_path / "a.npy", mask)
    with pytest.raises(InputError, match=r"is a mask .* in 12 pieces.*number of its own"):
        read_label_image(tmp_path / "a.npy")
    pieces = read_label_image(tmp_path / "a.npy", masks="components")
    np.testing.assert_array_equal(pieces, discs())
    one = np.where(discs() == 1, inside, 0)
    np.save(tmp_path / "b.npy", one)  # a single nucleus is what it is
    assert (read_label_image(tmp_path / "b.npy") > 0).sum() == (discs() == 1).sum()


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def damaged(tmp_path):
    """What the careless reader before this one made of each stands in the comment."""
    whole = npy(labels(np.int32))
    yield "huge.npy", whole.replace(b"(48, 64)", b"(99999, 99999)"[:14].ljust(14)), None
    yield "object.npy", whole.replace(b"<i4", b"|O "), None
    yield "short.npy", whole[:-9], None
    yield "half.npy", whole[:5], None
    yield "empty.npy", b"", None
    yield "long.npy", npy(np.zeros((3, 4, 5), int)), "3 dimensions"
    yield "nan.npy", npy(np.full((4, 4), np.nan)), "NaN"
    yield "float.npy", npy(np.ones((4, 4), np.float32)), "float32.*whole numbers"
    yield "less.npy", npy(np.full((4, 4), -2)), "negative"
    Image.fromarray(labels(np.uint8)).save(tmp_path / "ok.png")
    png = (tmp_path / "ok.png").read_bytes()
    yield "huge.png", png[:16] + struct.pack(">II", 13500, 13500) + png[24:], None
    yield "half.png", png[: len(png) // 2], None
    Image.fromarray(np.dstack([labels(np.uint8)] * 3)).save(tmp_path / "rgb.png")
    yield "colour.png", (tmp_path / "rgb.png").read_bytes(), "3 dimensions"
    tifffile.imwrite(tmp_path / "ok.tif", np.stack([labels()] * 3), photometric="minisblack")
    yield "pages.tif", (tmp_path / "ok.tif").read_bytes(), "3 pages"
    tifffile.imwrite(tmp_path / "ok.tif", labels(), compression="zlib")
    tiff = (tmp_path / "ok.tif").read_bytes()
    rng = np.random.default_rng(3)
    for i in range(40):  # ZeroDivisionError, TypeError, IndexError, struct.error
        changed = bytearray(tiff)
        changed[int(rng.integers(4, 250))] = int(rng.integers(256))
        yield f"flip{i}.tif", bytes(changed), ""
    for i in range(20):
        changed = bytearray(whole)
        changed[int(rng.integers(0, 100))] = int(rng.integers(256))
        yield f"flip{i}.npy", bytes(changed), ""


def test_what_is_no_label_image_is_one_sentence(tmp_path):
    refused = 0
    for name, data, says in damaged(tmp_path):
        path = tmp_path / name
        path.write_bytes(data)
        told = sentence(path)
        if told is None:
            assert says == "", name  # a flipped bit need not be noticed
            continue
        refused += 1
        assert told.startswith(str(path)), name
        assert "\n" not in told
        assert re.search(says or "", told), name
    assert refused > 30


def sentence(path):
    """What a reader says of a file; None where it is satisfied."""
    try:
        read_label_image(path)
    except InputError as error:
        return str(error)
    return None


def test_files_that_systems_leave_behind_are_passed_over(tmp_path):
    np.save(tmp_path / "a.npy", labels())
    (tmp_path / "._a.png").write_bytes(b"resource fork")
    assert list(read_labels(tmp_path)) == ["a"]


def test_a_csv_that_promises_too_much(tmp_path):
    text = "ImageId,EncodedPixels,Height,Width\na,1 3,1000000000,1000000000\n"
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=r"image a: 1000000000 x 1000000000 pixels are more"):
        score(tmp_path / "a.csv", tmp_path / "a.csv")


def test_ignored_is_ignored_with_blanks_around(tmp_path):
    text = "ImageId,EncodedPixels,Height,Width,Usage\na,1 3,9,9,Public\nb,odd,9,9, Ignored \n"
    (tmp_path / "a.csv").write_text(text)
    assert list(read_labels(tmp_path / "a.csv")) == ["a"]
