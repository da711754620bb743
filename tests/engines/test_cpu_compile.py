"""Compiled kernels are never stale, and where they are kept never ends a program."""

import os
import shutil
from pathlib import Path

import processes
import pytest

import ngat

pytest.importorskip("numba")

from ngat.engines.cpu.compile import AVX512, sources_digest

# Pairs of columns added up by a small kernel, whose helpers stand in other files.
PROGRAM = """
import numpy as np
from ngat.engines.cpu.compile import cache_folder
from ngat.engines.cpu.sweep_backward import gather

x, out = np.arange(8, dtype=np.float32), np.zeros(4, np.float32)
gather(1, 1, 8, x.ctypes.data, 8, out.ctypes.data, 4, np.float32(0), 4)
print(cache_folder(), sum(gather.stats.cache_hits.values()), *out.astype(int))
"""
SUMS = ["1", "5", "9", "13"]
# Of the package in the working folder, and of the variables and folders that are there now.
FRESH = """
import sys, tempfile
from numba.core import config
for name in [name for name in sys.modules if name.partition(".")[0] == "ngat"]:
    del sys.modules[name]
sys.path.insert(0, ".")
tempfile.tempdir = None
config.reload_config()
"""


def copied(folder):
    """The package in a folder, to be edited."""
    source = Path(ngat.__file__).parent
    return shutil.copytree(source, folder / "ngat", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package for all tests, which leave its sources as they were."""
    return copied(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def kept(package):
    """The folder where its first processes, which begin together, have kept compiled code."""
    (folder, *one), (other, *two) = [end(process) for process in [start(package) for _ in "12"]]
    assert folder == other
    assert Path(folder).parent == package / "engines" / "cpu" / "__pycache__"
    assert [0, SUMS] in (one, two)
    assert one[1] == two[1] == SUMS
    return folder


def start(package, program=PROGRAM, **variables):
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    return processes.Process(FRESH + program, [], package.parent, {**kept, **variables})


def end(process):
    code, out, err = processes.end(process)
    assert code == 0, err
    folder, hits, *sums = out.split()
    return folder, int(hits), sums


def test_every_source_counts(tmp_path):
    """A kernel inlines functions of any file beside it, so that a change of any is one of all."""
    sources = Path(ngat.__file__).parent / "engines" / "cpu"
    copies = [Path(shutil.copy(source, tmp_path)) for source in sorted(sources.glob("*.py"))]
    assert len(copies) > 10
    found = {sources_digest(tmp_path)}
    assert found == {sources_digest()}
    for copy in copies:
        copy.write_text(copy.read_text() + "\n# edited\n")
        found.add(sources_digest(tmp_path))
    assert len(found) == len(copies) + 1


def test_an_edited_helper_is_noticed(package, kept):
    helper = package / "engines" / "cpu" / "simd.py"
    source = helper.read_text()
    swapped = 'shuffled("evens", list(range(1, 2 * SIMD, 2)))'
    edited = source.replace('shuffled("evens", list(range(0, 2 * SIMD, 2)))', swapped)
    assert edited != source
    helper.write_text(edited)
    other, hits, sums = end(start(package))
    assert other != kept
    assert (hits, sums) == (0, ["2", "6", "10", "14"])

    helper.write_text(source)
    assert end(start(package)) == (kept, 1, SUMS)


def test_what_processes_that_began_together_kept_is_found(package, kept):
    assert end(start(package)) == (kept, 1, SUMS)


def test_a_read_only_package_without_a_home(tmp_path):
    """A container's user: compiled code goes to the folder for temporary files, or nowhere."""
    package = copied(tmp_path)
    blocked = package / "engines" / "cpu" / "__pycache__"
    blocked.write_text("a file, where no folder can be made")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    nowhere = {"HOME": str(blocked / "home")}
    folder, _, sums = end(start(package, TMPDIR=str(temporary), **nowhere))
    assert Path(folder).is_relative_to(temporary)
    assert sums == SUMS
    lost = PROGRAM.replace(
        "import numpy", "import tempfile\ntempfile.tempdir = '/dev/null'\nimport numpy", 1
    )
    assert end(start(package, lost, **nowhere)) == ("None", 0, SUMS)


def test_a_cache_that_breaks_is_done_without(package, kept):
    """The folder is lost, and a file in it is cut off, between two calls."""
    for path in Path(kept).rglob("*.nbi"):
        path.write_bytes(path.read_bytes()[:10])
    assert end(start(package)) == (kept, 0, SUMS)
    assert end(start(package)) == (kept, 1, SUMS)  # mended
    gone = PROGRAM.replace(
        "\ngather(", "\nimport shutil\nshutil.rmtree(cache_folder())\ngather(", 1
    )
    assert end(start(package, gone))[2] == SUMS


def test_narrow_kernels_are_compiled_apart(package):
    assert end(start(package, NGAT_SIMD="avx2"))[2] == SUMS
    refused = start(package, NGAT_SIMD="mmx")
    assert "InputError: NGAT_SIMD=mmx: leave it unset" in refused.communicate()[1]


def test_narrow_kernels_agree_with_the_reference(tmp_path):
    """The same tests as of wide ones, unoptimised for speed: tiles for sixteen registers.

    Whole updates in float32; of float64, the products.
    """
    here = Path(__file__).parent
    tests = [
        "test_fused.py::test_at_once_in_float32",
        "test_normed.py::test_products_are_sums_over_nodes",
    ]
    program = FRESH + "import pytest; sys.exit(int(pytest.main(sys.argv[1:])))"
    words = ["-q", "-k", "not dtype1", *(str(here / t) for t in tests)]
    narrow = {"NGAT_SIMD": "avx2", "NUMBA_OPT": "0", "NUMBA_CACHE_DIR": str(tmp_path)}
    root = Path(ngat.__file__).parents[1]
    code, said, _ = processes.end(processes.Process(program, words, root, os.environ | narrow), 300)
    assert code == 0, said
    (compiled,) = tmp_path.glob("kernels-*")
    assert (sources_digest() in compiled.name) == (not AVX512)
