"""Which files are pictures, by their names, and what to do with those of another kind."""

from __future__ import annotations

from pathlib import Path

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".svs", ".ndpi", ".scn", ".qptiff", ".lsm", ".stk")
RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
SLIDE_SUFFIXES = (".mrxs", ".vms", ".vmu", ".svslide", ".bif")
PICTURE_SUFFIXES = (*RASTER_SUFFIXES, *TIFF_SUFFIXES, *SLIDE_SUFFIXES, ".zarr")
# Formats of microscopes that Bio-Formats reads and we do not.
MICROSCOPE_SUFFIXES = (
    *(".czi", ".zvi", ".nd2", ".lif", ".lof", ".xlef", ".ims", ".dv", ".r3d", ".flex", ".mvd2"),
    *(".oib", ".oif", ".oir", ".poir", ".vsi", ".ets", ".dcm", ".c01", ".mrc", ".sld", ".isyntax"),
)
_ARRAY_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5", ".mat")


def is_picture(path: Path) -> bool:
    """Does the name say that it is a picture? Files that systems hide or leave behind are none."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def stem(path: Path) -> str:
    """Its name without its ending, of ``cells.ome.tif`` without both."""
    return Path(path.stem).stem if path.stem.lower().endswith(".ome") else path.stem


def remedy(suffix: str) -> str:
    """What to do with a file that cannot be read, by the ending of its name, in small letters."""
    if suffix in MICROSCOPE_SUFFIXES:
        return "open it in Fiji (Plugins > Bio-Formats) and save it as OME-TIFF"
    if suffix in _ARRAY_SUFFIXES:
        return "save the array as TIFF, or give it to ngat.segment in Python"
    if suffix in ("", *PICTURE_SUFFIXES):
        return "get the file again, or save it anew"
    return "save it as PNG or TIFF"
