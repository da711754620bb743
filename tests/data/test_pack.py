"""The pack: one file under 45 MB whose samples are the store's."""

import zipfile

import bowl
import numpy as np
import pytest
from typer.testing import CliRunner

from ngat import data
from ngat.cli import app
from ngat.data import pack, split, store
from ngat.data.dsb2018 import prepare
from ngat.data.pack import write_pack
from ngat.data.store import Store
from ngat.errors import InputError


@pytest.fixture
def root(tmp_path):
    """A data folder with a small store: two images to train on, one each of the others."""
    train = bowl.train_files()
    grey = np.repeat(bowl.picture(7)[:, :, :1], 3, axis=2)
    train["bb/images/bb.png"] = bowl.png(grey)
    train["ee/images/ee.png"] = bowl.png(bowl.picture(5))
    train["ee/masks/1.png"] = bowl.png(bowl.box(0, 0, 2, 2))
    source = bowl.make(tmp_path / "source", train=train, fixes=bowl.fix_files())
    root = tmp_path / "data"
    prepare(source, root / "dsb2018", expected={})
    lines = [",".join(split.SPLIT_COLUMNS)]
    with Store(root / "dsb2018") as held:
        for image_id, part in [("aa", "train"), ("bb", "train"), ("ee", "val"), ("cc", "test")]:
            row = held.rows[image_id]
            hashes = f"{row.image_sha256},{row.published_sha256}"
            lines.append(f"{part},{image_id},{row.source},purple_tissue,g-{image_id},{hashes}")
    (root / "split.csv").write_text("\n".join(lines) + "\n")
    return root


def samples(root):
    return {
        part: data.load("dsb2018", part, root=root, masks=masks, progress=False)
        for part, masks in pack.MASKS.items()
    }


def test_a_pack_in_place_of_the_store_gives_the_same_samples(root):
    whole = {part: data.fingerprint(found) for part, found in samples(root).items()}
    done = CliRunner().invoke(app, ["data", "pack", "--root", str(root)])
    assert done.exit_code == 0, done.output
    (root / "dsb2018" / store.FILE).unlink()
    found = samples(root)
    assert {part: data.fingerprint(held) for part, held in found.items()} == whole
    assert found["train"][1].labels.max() == 2  # corrected


def test_a_pack_holds_no_test_and_one_annotation_an_image(root):
    path = write_pack(root, progress=False)
    names = {name.rpartition(".")[0] for name in zipfile.ZipFile(path).namelist()}
    assert names == {
        "manifest", "about",
        *(f"images/{i}" for i in ("aa", "bb", "ee")),
        "published/aa", "corrected/bb", "published/ee",
    }  # fmt: skip
    (root / "dsb2018" / store.FILE).unlink()
    with pytest.raises(InputError, match=r"pack\.zip: cc of stage1_test is missing"):
        data.load("dsb2018", "test", root=root, progress=False)
    with pytest.raises(InputError, match=r"no published masks of bb.*ngat data prepare"):
        data.load("dsb2018", "train", root=root, progress=False)


def test_a_store_is_read_rather_than_a_pack(root):
    write_pack(root, progress=False)
    with Store(root / "dsb2018") as held:
        assert held.path.name == store.FILE


@pytest.mark.parametrize("form", [".webp", ".j2k"])
@pytest.mark.parametrize("colour", [False, True])
def test_every_form_of_an_image_is_lossless(form, colour, tmp_path):
    image = np.random.default_rng(3).integers(0, 256, (37, 64, 3), dtype=np.uint8)
    image = image if colour else np.repeat(image[:, :, 1:2], 3, axis=2)
    path = tmp_path / store.PACK
    labels = np.zeros((37, 64), dtype=np.int32)
    labels[3:9, 4:30] = 700  # two bytes
    row = store.StoredImage(
        "a", "train", 37, 64, 700, 700, *map(store.content_hash, (image, labels)), ""
    )
    for of_labels in (".webp", ".png"):
        files = {
            f"images/a{form}": pack.image_forms(image)[form],
            f"published/a{of_labels}": pack.label_forms(labels)[of_labels],
        }
        store.write_archive(path, [(row, files)], {})
        with Store(tmp_path) as held:
            np.testing.assert_array_equal(held.image("a"), image)
            np.testing.assert_array_equal(held.labels("a"), labels)


def test_a_pack_that_is_too_large_is_not_written(root, monkeypatch):
    monkeypatch.setattr(pack, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="MB are the most"):
        write_pack(root, progress=False)
    assert not (root / "dsb2018" / store.PACK).exists()


def test_a_pack_is_made_of_the_store(root):
    write_pack(root, progress=False)
    (root / "dsb2018" / store.FILE).unlink()
    with pytest.raises(InputError, match="a pack is made of the store"):
        write_pack(root, progress=False)


@pytest.mark.slow
def test_the_published_set_fits_and_keeps_its_samples(dsb2018_store, tmp_path):
    table = tmp_path / "split.csv"
    split.write_split("data/image_types.csv", dsb2018_store, table)
    (tmp_path / "dsb2018").symlink_to(dsb2018_store)
    whole = {part: data.fingerprint(found) for part, found in samples(tmp_path).items()}
    path = write_pack(tmp_path, tmp_path / "packed" / "dsb2018" / store.PACK, progress=False)
    assert path.stat().st_size < pack.MOST_BYTES
    (tmp_path / "packed" / "split.csv").write_bytes(table.read_bytes())
    found = samples(tmp_path / "packed")
    assert {part: data.fingerprint(held) for part, held in found.items()} == whole
