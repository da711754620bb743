"""Fixtures that several test files share."""

import io
import os
import zipfile
from pathlib import Path

import pytest

# Processes that test side by side have a core each (make test).
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

# Without a GPU the CUDA engine's kernels are interpreted. Triton looks for this when it is first
# imported, by whichever test file that is.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

from ngat.data.dsb2018 import prepare

# Files that take long, the longest first: two processes share the files, and neither shall wait
# for the last one.
LONG = (
    "test_gpu_session.py",
    "test_attention_cuda.py",
    "test_trainer.py",
    "test_reproduce.py",
    "test_cpu_compile.py",
    "test_benchmark.py",
    "test_segmentation_batch.py",
    "test_convolutional.py",
    "test_cli.py",
    "test_segmentation_network.py",
)


def pytest_collection_modifyitems(items):
    """Notebooks first, then long files, then the others, as they were found."""

    def turn(item):
        if item.path.suffix == ".ipynb":
            return -1
        return LONG.index(item.path.name) if item.path.name in LONG else len(LONG)

    items.sort(key=turn)


class UsersNotebooks:
    """Kernels of notebooks have the environment that a user's have: no engine is interpreted."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        if item.path.suffix == ".ipynb":
            os.environ.pop("TRITON_INTERPRET", None)
        elif not torch.cuda.is_available():
            os.environ["TRITON_INTERPRET"] = "1"


def pytest_configure(config):
    # What this file says itself is heard of the tests beside it only.
    config.pluginmanager.register(UsersNotebooks())


@pytest.fixture(scope="session")
def dsb2018_source():
    """Folder of the published Data Science Bowl files; tests skip where it is absent."""
    default = Path(__file__).parents[2] / "shared" / "dsb2018"
    source = Path(os.environ.get("NGAT_DSB2018", default))
    if not (source / "stage1_train.zip").exists():
        pytest.skip("no Data Science Bowl files; set NGAT_DSB2018 to their folder")
    return source


@pytest.fixture(scope="session")
def evaluation_pictures(dsb2018_source):
    """The 65 evaluation pictures of stage 1, which are validation here, ``uint8 [H, W, 3]``."""
    with zipfile.ZipFile(dsb2018_source / "stage1_test.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        pictures = [
            np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names
        ]
    assert len(pictures) == 65
    return pictures


@pytest.fixture(scope="session")
def dsb2018_store(dsb2018_source, tmp_path_factory):
    """Folder of a store made from all published files. Takes a minute or more: mark tests slow."""
    folder = tmp_path_factory.mktemp("data") / "dsb2018"
    prepare(dsb2018_source, folder, progress=False)
    return folder
