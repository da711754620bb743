"""What ImageJ, on which Fiji is built, makes of the files: the same nuclei with the same areas."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from ngat.data.synthetic import load_synthetic
from ngat.io.outlines import polygons, roi

JAR = Path("/usr/share/java/ij.jar")  # where Debian's package puts it

MACRO = """
setBatchMode(true);
open("{labels}");
getStatistics(area, mean, least, most);
print("labels " + most);
roiManager("Open", "{rois}");
for (k = 0; k < roiManager("count"); k++) {{
  roiManager("select", k);
  getStatistics(area, mean, least, most);
  print("region " + area + " " + least + " " + most);
}}
"""


@pytest.mark.skipif(
    not (JAR.exists() and shutil.which("java") and shutil.which("xvfb-run")),
    reason="no ImageJ; apt-get install imagej xvfb",
)
def test_imagej_opens_labels_and_regions_alike(tmp_path):
    labels = load_synthetic("test", seed=5, limit=1)[0].labels[:100, :100].astype(np.uint16)
    last = int(labels.max())
    labels[2:20, 2:20] = 0
    labels[4:12, 3:15], labels[6:9, 6:9] = last + 1, 0  # with a hole
    labels[14:16, 3:9], labels[18:20, 11:14] = last + 2, last + 2  # in two pieces
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    with zipfile.ZipFile(tmp_path / "rois.zip", "w") as file:
        for number in np.unique(labels[labels > 0]):
            file.writestr(f"{number}.roi", roi(int(number), polygons(labels == number)))
    macro = tmp_path / "open.ijm"
    macro.write_text(MACRO.format(labels=tmp_path / "labels.tif", rois=tmp_path / "rois.zip"))
    call = ["xvfb-run", "-a", "java", "-cp", str(JAR), "ij.ImageJ", "-batch", str(macro)]
    said = subprocess.run(call, capture_output=True, text=True, timeout=120).stdout.split("\n")
    areas = np.bincount(labels.ravel())[1:]
    assert f"labels {labels.max()}" in said
    regions = [line.split()[1:] for line in said if line.startswith("region")]
    # Each region covers its nucleus and nothing else.
    assert sorted(regions) == sorted(
        [str(area), str(number), str(number)] for number, area in enumerate(areas, 1) if area
    )
