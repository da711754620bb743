"""The package as it is installed: without the repository, with its weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pictures import discs
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_wheel_segments_a_folder_elsewhere(tmp_path):
    line = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "-q", "-w", str(tmp_path)]
    built = subprocess.run(line, capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"no wheel can be built here: {built.stderr.strip()[-200:]}")
    (wheel,) = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    assert "ngat/shipped/companion.safetensors" in held
    assert "ngat/napari.yaml" in held
    assert not [name for name in held if name.startswith(("tests/", "data/", "notebooks/"))]

    venv.create(tmp_path / "venv", with_pip=False)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    # What it depends on is that of this environment; this package comes first.
    installed = next(p for p in sys.path if (Path(p) / "torch").is_dir())
    (packages / "dependencies.pth").write_text(installed + "\n", encoding="utf-8")

    (tmp_path / "work/cells").mkdir(parents=True)
    there = []
    for seed, step in enumerate((30, 36)):
        drawn = discs((160, 180), 9, step)
        there.append(int(drawn.max()))
        # As a lens would show them; an edge of one pixel is that of debris.
        light = 30 + 180 * ndimage.gaussian_filter((drawn > 0).astype(float), 1.0)
        noise = np.random.default_rng(seed).normal(0, 4, light.shape)
        picture = np.clip(light + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"work/cells/{seed}.png")
    python = str(tmp_path / "venv/bin/python")
    elsewhere = {
        "capture_output": True,
        "text": True,
        "cwd": tmp_path / "work",
        "env": {k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    }
    where = subprocess.run([python, "-c", "import ngat; print(ngat.__file__)"], **elsewhere)
    assert where.stdout.startswith(str(packages)), where.stderr
    line = [python, "-m", "ngat", "segment", "cells", "--out", "nuclei", "--format", "all"]
    done = subprocess.run(line, **elsewhere)
    assert done.returncode == 0, done.stderr
    assert "2 done, 0 skipped, 0 failed" in done.stdout
    for seed in range(2):
        record = json.loads((tmp_path / f"work/nuclei/{seed}.json").read_text())
        assert record["nuclei"] == there[seed]
