"""Reading the Data Science Bowl: small sources made by hand, hostile ones, and the real one."""

import csv
import io
import json
import shutil
import struct
import zipfile
import zlib

import bowl
import numpy as np
import pytest
from PIL import Image

from ngat.data.archive import decode_mask, decode_picture
from ngat.data.dsb2018 import PUBLISHED, PartCounts, prepare
from ngat.data.rle import merge
from ngat.data.store import FILE, Store, content_hash
from ngat.errors import InputError

# ------------------------------------------------------------------ a source that is well


def read(out, image_id, masks="published"):
    with Store(out) as store:
        return store.image(image_id), store.labels(image_id, masks)


def test_pictures_and_masks_come_through(tmp_path):
    source = bowl.make(tmp_path / "source", fixes=bowl.fix_files())
    out = tmp_path / "out"
    report = prepare(source, out, expected={})
    assert report.counts == {
        "stage1_train": PartCounts(2, 3, 0),
        "stage1_train_fixes": PartCounts(1, 2, 1),
        "stage1_test": PartCounts(1, 2, 0),
    }
    image, labels = read(out, "aa")
    assert np.array_equal(image, bowl.picture(1))
    # Label 1 is the nucleus that is met first in reading order, though its file sorts second.
    wanted = np.zeros(bowl.SIZE, int)
    wanted[0:4, 5:9], wanted[6:9, 0:3] = 1, 2
    assert labels.dtype == np.int32
    assert np.array_equal(labels, wanted)
    image, labels = read(out, "cc")
    wanted = np.zeros(bowl.SIZE, int)
    wanted[0:2, 0:2], wanted[4:9, 4:9] = 1, 2
    assert np.array_equal(labels, wanted)


def test_corrected_masks_are_chosen_where_there_are_any(tmp_path):
    source = bowl.make(tmp_path / "source", fixes=bowl.fix_files())
    prepare(source, tmp_path / "out", expected={})
    assert read(tmp_path / "out", "bb")[1].sum() == 4
    corrected = read(tmp_path / "out", "bb", "corrected")[1]
    # They share pixel (3, 3); it goes to the smaller mask, the second.
    assert corrected[3, 3] == 2
    assert (np.count_nonzero(corrected == 1), np.count_nonzero(corrected == 2)) == (8, 6)
    assert np.array_equal(
        read(tmp_path / "out", "aa", "corrected")[1], read(tmp_path / "out", "aa")[1]
    )


def test_folders_give_the_same_store_as_zips(tmp_path):
    source = bowl.make(tmp_path / "source", fixes=bowl.fix_files())
    unpacked = tmp_path / "unpacked"
    for name in ("stage1_train", "stage1_train_fixes", "stage1_test"):
        with zipfile.ZipFile(source / f"{name}.zip") as file:
            # Some tools unpack into a folder of the archive's name, inside one of the same name.
            file.extractall(unpacked / name / (name if name == "stage1_train" else "."))
    shutil.copy(source / "stage1_solution.csv", unpacked)
    (unpacked / "stage1_train" / ".DS_Store").write_text("litter")
    prepare(source, tmp_path / "a", expected={})
    prepare(unpacked, tmp_path / "b", expected={})
    with Store(tmp_path / "a") as a, Store(tmp_path / "b") as b:
        assert a.rows == b.rows
        assert len(a.rows) == 3


def test_the_same_source_gives_the_same_bytes(tmp_path):
    source = bowl.make(tmp_path / "source")
    first = prepare(source, tmp_path / "a", expected={}).path.read_bytes()
    assert prepare(source, tmp_path / "b", expected={}).path.read_bytes() == first


def test_stage_2_skips_what_was_never_scored(tmp_path):
    source = bowl.make(tmp_path / "source")
    files = {
        "dd/images/dd.png": bowl.png(bowl.picture(4)),
        "ee/images/ee.png": b"not even a picture",
    }
    bowl.pack(source / "stage2_test_final.zip", files)
    rows = [("dd", "1 3", *bowl.SIZE, "Private"), ("ee", "1 1", 1, 1, "Ignored")]
    (source / "stage2_solution_final.csv").write_text(bowl.solution(*rows))
    report = prepare(source, tmp_path / "out", expected={})
    assert report.counts["stage2_test_final"] == PartCounts(1, 1, 0)
    with Store(tmp_path / "out") as store:
        assert sorted(store.rows) == ["aa", "bb", "cc", "dd"]


def test_the_report_reads_plainly(tmp_path):
    report = prepare(bowl.make(tmp_path / "source"), tmp_path / "out", expected={})
    assert "stage1_train: 2 images, 3 masks, 0 overlapping pairs" in str(report)
    assert set(report.files) == {"stage1_train.zip", "stage1_test.zip", "stage1_solution.csv"}


# ------------------------------------------------------------------ pictures of all kinds


def saved(array, kind="PNG", mode=None, **options):
    stream = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(stream, kind, **options)
    return stream.getvalue()


RGB = bowl.picture(5)
GRAY = RGB[:, :, 0]


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (saved(RGB), RGB),
        (saved(np.dstack([RGB, GRAY])), RGB),
        (saved(GRAY), np.dstack([GRAY] * 3)),
        (saved(np.dstack([GRAY, GRAY])), np.dstack([GRAY] * 3)),
        (saved(GRAY > 99), np.dstack([np.where(GRAY > 99, 255, 0)] * 3)),
    ],
    ids=["rgb", "rgba", "gray", "gray+alpha", "1 bit"],
)
def test_every_kind_of_picture_is_read_as_rgb(data, wanted):
    image = decode_picture(data, "a.png")
    assert image.dtype == np.uint8
    assert np.array_equal(image, wanted)


def test_a_palette_is_looked_up():
    indices = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8), "P")
    indices.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    stream = io.BytesIO()
    indices.save(stream, "PNG")
    image = decode_picture(stream.getvalue(), "a.png")
    assert image[1, 0].tolist() == [70, 80, 90]
    assert image[0, 1].tolist() == [40, 50, 60]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (saved(np.full((3, 3), 2.0, np.float32), "TIFF"), "more than 8 bits"),
        (saved(np.full((3, 3), 700, np.uint16)), "more than 8 bits"),
        (saved(RGB)[:-30], "not a readable"),
        (b"GIF89a", "not a readable"),
        (b"", "not a readable"),
    ],
)
def test_bad_pictures_say_what_is_wrong(data, says):
    with pytest.raises(InputError, match=says) as caught:
        decode_picture(data, "zip: a.png")
    assert str(caught.value).startswith("zip: a.png: ")


def test_a_header_that_promises_too_much_is_refused_before_it_is_decoded():
    data = bytearray(saved(RGB))
    for side, says in [(9000, "9000 x 9000 pixels"), (60000, "not a readable")]:
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        with pytest.raises(InputError, match=says):
            decode_picture(bytes(data), "a.png")


def test_masks_are_whatever_is_not_zero():
    for array in (
        bowl.box(2, 3, 4, 5),
        bowl.box(2, 3, 4, 5) > 0,
        (bowl.box(2, 3, 4, 5) > 0) * np.uint16(1),
    ):
        size, pixels = decode_mask(saved(array), "m.png")
        assert size == bowl.SIZE
        assert pixels.tolist() == [27, 28, 39, 40]


# ------------------------------------------------------------------ merging


def test_merging_does_not_depend_on_the_order_of_masks():
    rng = np.random.default_rng(0)
    masks = [np.sort(rng.choice(60, size=n, replace=False)) for n in (3, 9, 9, 14, 20)]
    first = merge(masks, 6, 10)
    for _ in range(10):
        again = merge([masks[i] for i in rng.permutation(5)], 6, 10)
        assert np.array_equal(again.labels, first.labels)
        assert again[1:] == first[1:]


def test_overlaps_are_counted_by_pairs_and_go_to_the_smallest():
    large, middle, small = np.arange(0, 10), np.arange(8, 13), np.array([9, 10])
    merged = merge([small, large, middle], 2, 10)
    assert merged.overlaps == 3
    assert merged.hidden == 0
    assert merged.labels.ravel().tolist() == [1] * 8 + [2, 3, 3, 2, 2] + [0] * 7


def test_a_mask_that_others_cover_is_reported_and_leaves_no_gap():
    merged = merge([np.arange(0, 4), np.array([0, 1]), np.array([2, 3])], 1, 6)
    assert merged.hidden == 1
    assert merged.labels.tolist() == [[1, 1, 2, 2, 0, 0]]


# ------------------------------------------------------------------ sources that are not well


def refused(source, says, *, expected=None, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=says) as caught:
        prepare(source, out, expected=expected or {}, progress=False)
    assert "\n" not in str(caught.value)
    assert not out.exists() or not list(out.iterdir()), "nothing half-written may stay"


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        prepare(tmp_path / "nowhere", tmp_path / "out")
    for name in ("stage1_train.zip", "stage1_test.zip", "stage1_solution.csv"):
        source = bowl.make(tmp_path / name)
        (source / name).unlink()
        says = f"{name}.* missing|{name}: no such file; download the masks of stage1_test"
        refused(source, says, tmp_path=tmp_path)


def test_stage_2_needs_both_files(tmp_path):
    source = bowl.make(tmp_path / "source")
    (source / "stage2_solution_final.csv").write_text(bowl.solution())
    refused(source, r"stage2_test_final\.zip is missing", tmp_path=tmp_path)
    (source / "stage2_solution_final.csv").unlink()
    bowl.pack(source / "stage2_test_final.zip", bowl.test_files())
    refused(
        source,
        r"stage2_solution_final\.csv: no such file; download the masks of stage2",
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("keep", [0, 10, 0.5, -4])
def test_a_truncated_zip_is_refused(tmp_path, keep):
    source = bowl.make(tmp_path / "source")
    data = (source / "stage1_train.zip").read_bytes()
    cut = int(len(data) * keep) if isinstance(keep, float) else keep
    (source / "stage1_train.zip").write_bytes(data[:cut])
    refused(
        source, r"stage1_train\.zip: not a whole zip file .*download it again", tmp_path=tmp_path
    )


def test_a_flipped_byte_inside_a_zip_is_found(tmp_path):
    source = bowl.make(tmp_path / "source")
    with zipfile.ZipFile(source / "stage1_train.zip") as file:
        entry = file.getinfo("aa/images/aa.png")
    data = bytearray((source / "stage1_train.zip").read_bytes())
    data[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 0xFF
    (source / "stage1_train.zip").write_bytes(data)
    refused(source, r"stage1_train\.zip: aa/images/aa\.png is damaged", tmp_path=tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "aa/images/../../../evil.png",
        "/etc/evil.png",
        "C:/evil.png",
        "aa\\..\\evil.png",
    ],
)
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    source = bowl.make(tmp_path / "source", train={**bowl.train_files(), name: b"x"})
    refused(source, r"stage1_train\.zip: entry .* points outside", tmp_path=tmp_path)


def test_links_in_a_zip_are_refused(tmp_path):
    source = bowl.make(tmp_path / "source")
    with zipfile.ZipFile(source / "stage1_train.zip", "a") as file:
        link = zipfile.ZipInfo("aa/masks/3.png")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    refused(source, "entry 'aa/masks/3.png' points outside", tmp_path=tmp_path)


def test_an_entry_that_unpacks_to_too_much_is_refused(tmp_path):
    source = bowl.make(tmp_path / "source", train={**bowl.train_files(), "bomb": bytes(65 * 2**20)})
    assert (source / "stage1_train.zip").stat().st_size < 2**20
    refused(source, "entry 'bomb' unpacks to", tmp_path=tmp_path)


def test_an_entry_that_lies_about_its_size_is_refused(tmp_path):
    source = bowl.make(
        tmp_path / "source", train={**bowl.train_files(), "aa/masks/9.png": bytes(2**20)}
    )
    path = source / "stage1_train.zip"
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        local = file.getinfo("aa/masks/9.png").header_offset
    # The uncompressed size stands 22 bytes into the local header, 24 into the central one, whose
    # name follows after 46.
    central = data.index(b"aa/masks/9.png", local + 46) - 46
    for place in (local + 22, central + 24):
        assert data[place : place + 4] == struct.pack("<I", 2**20)
        data[place : place + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    refused(source, r"aa/masks/9\.png is damaged", tmp_path=tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(tmp_path):
    source = bowl.make(tmp_path / "source")
    with zipfile.ZipFile(source / "stage1_train.zip", "a") as file:
        file.writestr("aa/masks/1.png", bowl.png(bowl.box(0, 0, 1, 1)))
    refused(source, "'aa/masks/1.png' is there twice", tmp_path=tmp_path)


SMALL = bowl.png(bowl.box(0, 0, 2, 2, size=(5, 5)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bb/masks/1.png": None}, "bb/masks is empty"),
        ({"bb/masks/1.png": None, "bb/masks/": b""}, "bb/masks is empty"),
        ({"bb/masks/1.png": SMALL}, r"bb/masks/1\.png has 5 x 5 pixels, its picture 9 x 12"),
        ({"bb/masks/1.png": bowl.png(bowl.box(0, 0, 0, 0))}, r"bb/masks/1\.png: the mask is empty"),
        ({"bb/masks/1.png": b"text"}, r"bb/masks/1\.png: not a readable"),
        ({"bb/images/bb.png": None}, "bb/images holds 0 pictures"),
        ({"bb/images/b2.png": bowl.png(bowl.picture())}, "bb/images holds 2 pictures"),
        ({"bb/images/bb.png": b"text"}, r"bb/images/bb\.png: not a readable"),
        ({"b b/masks/1.png": SMALL}, "'b b' is no image id"),
    ],
)
def test_spoilt_content_is_named(tmp_path, changes, says):
    files = {**bowl.train_files(), **changes}
    files = {name: data for name, data in files.items() if data is not None}
    source = bowl.make(tmp_path / "source", train=files)
    refused(source, rf"stage1_train\.zip: {says}", tmp_path=tmp_path)


def test_an_empty_mask_folder_on_disk_is_named(tmp_path):
    source = bowl.make(tmp_path / "source")
    with zipfile.ZipFile(source / "stage1_train.zip") as file:
        file.extractall(source / "stage1_train")
    (source / "stage1_train.zip").unlink()
    (source / "stage1_train/bb/masks/1.png").unlink()
    refused(source, "stage1_train: bb/masks is empty", tmp_path=tmp_path)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("cc", "1 2 3"), "line 2: 3 values, an odd number"),
        (("cc", "1 x"), "line 2: 'x' is not a whole number"),
        (("cc", "108 2"), "line 2: run '108 2' leaves the picture"),
        (("cc", "1 4 3 4"), "line 2: runs overlap at pixel 3"),
        (("cc", ""), "line 2: the mask is empty"),
        (("cc", "1 4", 9, 13, "Public"), "line 2 says 9 x 13 pixels, cc/images/cc.png has 9 x 12"),
    ],
)
def test_a_spoilt_table_is_named_by_line(tmp_path, row, says):
    source = bowl.make(tmp_path / "source", table=bowl.solution(row))
    refused(source, rf"stage1_solution\.csv: {says}", tmp_path=tmp_path)


def test_a_table_of_another_kind_is_refused(tmp_path):
    source = bowl.make(tmp_path / "source", table="ImageId,EncodedPixels\ncc,1 2\n")
    refused(source, r"stage1_solution\.csv: lacks the column", tmp_path=tmp_path)
    (source / "stage1_solution.csv").write_bytes(b"\xff\xfe\x00broken\x00")
    refused(source, r"stage1_solution\.csv: ", tmp_path=tmp_path)
    (source / "stage1_solution.csv").write_text(bowl.solution(("zz", "1 2")))
    refused(source, r"stage1_test\.zip: the picture zz", tmp_path=tmp_path)


def test_corrections_of_unknown_pictures_are_refused(tmp_path):
    source = bowl.make(tmp_path / "source", fixes={"zz/masks/1.png": SMALL})
    refused(source, r"stage1_train_fixes\.zip: corrects zz", tmp_path=tmp_path)


def test_wrong_counts_are_refused(tmp_path):
    source = bowl.make(tmp_path / "source", fixes=bowl.fix_files())
    good = {
        "stage1_train": PartCounts(2, 3, 0),
        "stage1_train_fixes": PartCounts(1, 2, 1),
        "stage1_test": PartCounts(1, 2, 0),
    }
    prepare(source, tmp_path / "good", expected=good)
    for part, counts, says in [
        ("stage1_train", PartCounts(3, 3, 0), r"stage1_train\.zip: 2 images where 3"),
        ("stage1_train", PartCounts(2, 4, 0), r"stage1_train\.zip: 3 masks where 4"),
        (
            "stage1_train_fixes",
            PartCounts(1, 2, 0),
            "bb/masks: masks overlap, in all 1 pairs where 0",
        ),
        ("stage1_test", PartCounts(1, 3, 0), r"stage1_test\.zip: 2 masks where 3"),
    ]:
        refused(source, says, expected={**good, part: counts}, tmp_path=tmp_path)
    refused(source, "published", expected=PUBLISHED, tmp_path=tmp_path)


def test_a_mask_that_others_cover_is_refused_where_counts_are_known(tmp_path):
    twins = {**bowl.train_files(), "bb/masks/2.png": bowl.png(bowl.box(1, 1, 3, 3))}
    source = bowl.make(tmp_path / "source", train=twins)
    expected = {"stage1_train": PartCounts(2, 4, 1)}
    refused(source, "bb/masks: 1 masks are covered", expected=expected, tmp_path=tmp_path)


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    source = bowl.make(tmp_path / "source")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"cannot be written .*choose another output folder"):
        prepare(source, tmp_path / "file" / "out", expected={})


def test_an_older_store_survives_a_failure(tmp_path):
    source, out = bowl.make(tmp_path / "source"), tmp_path / "out"
    before = prepare(source, out, expected={}).path.read_bytes()
    (source / "stage1_solution.csv").write_text(bowl.solution(("cc", "1 2 3")))
    with pytest.raises(InputError):
        prepare(source, out, expected={})
    assert [p.name for p in out.iterdir()] == [FILE]
    assert (out / FILE).read_bytes() == before


# ------------------------------------------------------------------ stores that are not well


def test_a_missing_store_names_the_command(tmp_path):
    with pytest.raises(InputError, match="ngat data prepare --source DIR"):
        Store(tmp_path)


def test_a_truncated_store_is_noticed(tmp_path):
    path = prepare(bowl.make(tmp_path / "source"), tmp_path / "out", expected={}).path
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="damaged; prepare it again"):
        Store(tmp_path / "out")


def rewritten(path, **changes):
    """Write the store again with other content under its names, all checksums of the zip valid."""
    with zipfile.ZipFile(path) as file:
        content = {name: file.read(name) for name in file.namelist()}
    bowl.pack(path, {name: changes.get(name.split("/")[0], data) for name, data in content.items()})


@pytest.mark.parametrize("what", ["images", "published"])
def test_every_flipped_byte_of_a_store_is_noticed(tmp_path, what):
    path = prepare(bowl.make(tmp_path / "source"), tmp_path / "out", expected={}).path
    with zipfile.ZipFile(path) as file:
        entry = next(e for e in file.infolist() if e.filename.startswith(f"{what}/aa"))
    data = bytearray(path.read_bytes())
    data[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{what}/aa.* is damaged"):
        read(tmp_path / "out", "aa")


def test_exchanged_content_is_noticed_by_its_hash(tmp_path):
    path = prepare(bowl.make(tmp_path / "source"), tmp_path / "out", expected={}).path
    rewritten(path, images=saved(bowl.picture(9), "WEBP", lossless=True))
    with pytest.raises(InputError, match="aa does not match its hash"):
        read(tmp_path / "out", "aa")


def test_a_store_of_another_version_is_refused(tmp_path):
    path = prepare(bowl.make(tmp_path / "source"), tmp_path / "out", expected={}).path
    rewritten(path, **{"about.json": json.dumps({"format": 99}).encode()})
    with pytest.raises(InputError, match="another version"):
        Store(tmp_path / "out")


def test_content_hashes_know_shape_and_values_only():
    values = np.arange(6)
    assert content_hash(values.reshape(2, 3)) != content_hash(values.reshape(3, 2))
    assert content_hash(values.astype(np.int32)) == content_hash(values.astype(np.uint16))
    assert content_hash(values.astype(np.int32)) == content_hash(values.astype(">i8"))
    assert content_hash(values) != content_hash(values + 1)


# ------------------------------------------------------------------ the real files


def test_real_pictures_and_masks_match_a_plain_reading(dsb2018_source, tmp_path):
    """Five real pictures through the whole pipeline, beside the most direct reading of them."""
    with zipfile.ZipFile(dsb2018_source / "stage1_train.zip") as file:
        names = sorted(n for n in file.namelist() if n.endswith(".png"))
        chosen = sorted({n.split("/")[0] for n in names})[::150]
        files = {n: file.read(n) for n in names if n.split("/")[0] in chosen}
    assert len(chosen) == 5
    prepare(bowl.make(tmp_path / "source", train=files), tmp_path / "out", expected={})
    for image_id in chosen:
        image, labels = read(tmp_path / "out", image_id)
        plain = np.asarray(Image.open(io.BytesIO(files[f"{image_id}/images/{image_id}.png"])))
        assert np.array_equal(image, plain[:, :, :3])
        masks = [
            np.asarray(Image.open(io.BytesIO(data))) > 0
            for name, data in files.items()
            if name.startswith(f"{image_id}/masks/")
        ]
        found = {(labels == label).tobytes() for label in range(1, labels.max() + 1)}
        assert found == {mask.tobytes() for mask in masks}


@pytest.mark.slow
@pytest.mark.timeout(1200)  # includes preparing the whole set
def test_the_whole_published_set_is_what_it_is_said_to_be(dsb2018_source, dsb2018_store):
    assert (dsb2018_store / FILE).stat().st_size < 60e6
    with Store(dsb2018_store) as store:
        rows = store.rows.values()
        train = [row for row in rows if row.source == "stage1_train"]
        test = [row for row in rows if row.source == "stage1_test"]
        assert (len(train), sum(row.nuclei for row in train)) == (670, 29461)
        assert (len(test), sum(row.nuclei for row in test)) == (65, 4152)
        corrected = [row for row in rows if row.corrected_sha256]
        assert (len(corrected), sum(row.nuclei_corrected for row in corrected)) == (664, 28986)
        for image_id in store.rows:
            for masks in ("published", "corrected"):
                labels = store.labels(image_id, masks)
                assert np.array_equal(np.unique(labels[labels > 0]), 1 + np.arange(labels.max()))
        # The solution's table, once more, by the shortest reading of its rows.
        table = csv.DictReader((dsb2018_source / "stage1_solution.csv").open(newline=""))
        for row in table:
            labels = store.labels(row["ImageId"]).ravel(order="F")
            pairs = np.array(row["EncodedPixels"].split(), dtype=int).reshape(-1, 2)
            inside = np.concatenate([np.arange(s - 1, s - 1 + n) for s, n in pairs])
            label = labels[inside[0]]
            assert label > 0
            assert np.array_equal(np.flatnonzero(labels == label), inside)
