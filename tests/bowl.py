"""A tiny source in the published layout, made to be spoilt by tests."""

import io
import zipfile

import numpy as np
from PIL import Image

from ngat.data import rle

SIZE = (9, 12)


def png(array, mode=None):
    stream = io.BytesIO()
    picture = Image.fromarray(np.asarray(array))
    (picture.convert(mode) if mode else picture).save(stream, "PNG")
    return stream.getvalue()


def picture(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def box(top, left, bottom, right, size=SIZE):
    mask = np.zeros(size, dtype=np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def train_files():
    return {
        "aa/images/aa.png": png(picture(1)),
        "aa/masks/1.png": png(box(6, 0, 9, 3)),
        "aa/masks/2.png": png(box(0, 5, 4, 9)),
        "bb/images/bb.png": png(picture(2)),
        "bb/masks/1.png": png(box(1, 1, 3, 3)),
    }


def fix_files():
    return {"bb/masks/1.png": png(box(1, 1, 4, 4)), "bb/masks/2.png": png(box(3, 3, 5, 6))}


def test_files():
    return {"cc/images/cc.png": png(picture(3))}


def solution(*rows):
    rows = rows or [("cc", rle.encode(box(0, 0, 2, 2))), ("cc", rle.encode(box(4, 4, 9, 9)))]
    lines = ["ImageId,EncodedPixels,Height,Width,Usage"]
    for image_id, runs, *rest in rows:
        height, width, usage = rest or (*SIZE, "Public")
        lines.append(f"{image_id},{runs},{height},{width},{usage}")
    return "\n".join(lines) + "\n"


def pack(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)


def make(folder, *, train=None, fixes=None, test=None, table=None):
    """Write a whole small source; each part can be given, ``fixes`` is left out unless it is."""
    folder.mkdir(parents=True, exist_ok=True)
    pack(folder / "stage1_train.zip", train_files() if train is None else train)
    if fixes is not None:
        pack(folder / "stage1_train_fixes.zip", fixes)
    pack(folder / "stage1_test.zip", test_files() if test is None else test)
    (folder / "stage1_solution.csv").write_text(solution() if table is None else table)
    return folder
