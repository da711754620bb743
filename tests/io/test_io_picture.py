"""Pictures of any kind: nothing is ignored, quantised, turned or inverted without a word."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from pictures import SHAPE, colour, grey
from PIL import Image

from ngat.errors import InputError
from ngat.io.kinds import is_picture
from ngat.io.picture import array_picture, open_picture, open_pictures
from ngat.io.stack import MAX_BYTES

TYPES = ["uint8", "uint16", "uint32", "int16", "int32", "float32", "float64"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_tiff_of_any_depth_is_read_to_the_last_digit(tmp_path, dtype, compression):
    pixels = grey(high=200 if dtype == "uint8" else 30000, dtype=np.dtype(dtype))
    if dtype.startswith("f"):
        pixels = pixels / 7 - 100
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression)
    picture = open_picture(tmp_path / "a.tif")
    assert picture.shape == SHAPE
    np.testing.assert_array_equal(picture.read(), pixels.astype(picture.read().dtype))
    assert picture.read().dtype == (dtype if dtype in ("uint8", "uint16") else "float32")
    np.testing.assert_array_equal(
        picture.read(slice(5, 17), slice(30, 64)), picture.read()[5:17, 30:]
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colour_tiff_however_it_is_cut(tmp_path, dtype, planar, tile, compression):
    pixels = colour(high=250, dtype=dtype)
    stored = np.moveaxis(pixels, 2, 0) if planar == "separate" else pixels
    options = {"photometric": "rgb", "planarconfig": planar, "tile": tile}
    tifffile.imwrite(tmp_path / "a.tif", stored, compression=compression, **options)
    picture = open_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.read(), pixels)
    np.testing.assert_array_equal(picture.read(slice(10, 40), slice(3, 50)), pixels[10:40, 3:50])
    assert picture.channel_names == ("red", "green", "blue")


def test_png_and_jpeg_keep_their_depth(tmp_path):
    Image.fromarray(grey()).save(tmp_path / "g.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "g.png").read(), grey())
    deep = grey(high=4095, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "d.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "d.png").read(), deep)
    import imagecodecs

    deep = colour(high=40000, dtype=np.uint16)
    (tmp_path / "c.png").write_bytes(imagecodecs.png_encode(deep))
    np.testing.assert_array_equal(open_picture(tmp_path / "c.png").read(), deep)
    Image.fromarray(colour()).save(tmp_path / "c.jpg", quality=95)
    assert np.abs(open_picture(tmp_path / "c.jpg").read().astype(int) - colour()).mean() < 6
    Image.fromarray(colour()).save(tmp_path / "c.webp", lossless=True)
    np.testing.assert_array_equal(open_picture(tmp_path / "c.webp").read(), colour())


def test_palette_cmyk_and_one_bit(tmp_path):
    Image.fromarray(colour()).quantize(200).save(tmp_path / "p.png")
    assert np.abs(open_picture(tmp_path / "p.png").read().astype(int) - colour()).mean() < 3
    Image.fromarray(colour()).convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    assert np.abs(open_picture(tmp_path / "c.jpg").read().astype(int) - colour()).mean() < 6
    inks = np.asarray(Image.fromarray(colour()).convert("CMYK"))
    tifffile.imwrite(tmp_path / "c.tif", inks, photometric="separated")
    assert np.abs(open_picture(tmp_path / "c.tif").read().astype(int) - colour()).max() <= 1
    colormap = np.random.default_rng(0).integers(0, 65535, (3, 256), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "p.tif", grey(), photometric="palette", colormap=colormap)
    np.testing.assert_array_equal(
        open_picture(tmp_path / "p.tif").read(), np.moveaxis(colormap[:, grey()], 0, 2)
    )
    Image.fromarray(grey() > 100).save(tmp_path / "b.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "b.png").read(), grey() > 100)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_white_as_zero_is_not_inverted(tmp_path, dtype):
    pixels = grey(high=200, dtype=dtype)
    stored = -pixels if dtype == np.float32 else np.iinfo(dtype).max - pixels
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    np.testing.assert_array_equal(open_picture(tmp_path / "a.tif").read(), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_kind_of_file_is_turned_alike(tmp_path, orientation):
    """The reference is Pillow's own turning of a JPEG's and PNG's tag."""
    exif = Image.Exif()
    exif[274] = orientation
    pixels = grey()
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=100)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, compression="zlib", extratags=[(274, 3, 1, orientation, True)]
    )
    from PIL import ImageOps

    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    for suffix in ("png", "tif"):
        picture = open_picture(tmp_path / f"a.{suffix}")
        assert picture.shape == upright.shape
        np.testing.assert_array_equal(picture.read(), upright)
        np.testing.assert_array_equal(picture.read(slice(4, 21), slice(9, 40)), upright[4:21, 9:40])
    seen = open_picture(tmp_path / "a.jpg").read().astype(int)
    assert np.abs(seen - upright).mean() < 2


def transparent():
    """Nuclei on white of which 40 % is cut out: black, with an alpha of 0."""
    pixels = np.dstack([colour(), np.full(SHAPE, 255, np.uint8)])
    pixels[-20:] = 0
    return pixels


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_what_is_transparent_looks_like_the_background(tmp_path, suffix):
    pixels = transparent()
    if suffix == "png":
        Image.fromarray(pixels).save(tmp_path / "a.png")
    else:
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[2])
    seen = open_picture(tmp_path / f"a.{suffix}").read()
    np.testing.assert_array_equal(seen[:-20], colour()[:-20])
    backdrop = np.median(colour()[:-20].reshape(-1, 3), axis=0)
    assert np.abs(seen[-20:] - backdrop).max() <= 12  # the ramp of the picture
    half = transparent()
    half[:10, :, 3] = 128
    tifffile.imwrite(tmp_path / "h.tif", half, photometric="rgb", extrasamples=[2])
    share = 128 / 255
    expected = colour()[:10] * share + (1 - share) * backdrop
    assert np.abs(open_picture(tmp_path / "h.tif").read()[:10] - expected).max() <= 12


def test_premultiplied_colours_are_not_darkened_twice(tmp_path):
    pixels = transparent()
    pixels[:10, :, 3] = 128
    pixels[:10, :, :3] //= 2
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[1])
    straight = transparent()
    straight[:10, :, 3] = 128
    tifffile.imwrite(tmp_path / "b.tif", straight, photometric="rgb", extrasamples=[2])
    first, second = (open_picture(tmp_path / f"{n}.tif").read().astype(int) for n in "ab")
    assert np.abs(first - second).max() <= 3


def stack(n=3, dtype=np.uint16):
    return np.stack([np.zeros(SHAPE, dtype), *[grey(dtype=dtype) + i for i in range(n - 1)]])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, r"3 pages \(Q=3\).*--page 0 to 2.*--page all.*--axes CYX"),
        ({"metadata": {"axes": "ZYX"}, "imagej": True}, r"3 pages \(Z=3\)"),
        ({"metadata": {"axes": "ZYX"}, "ome": True}, r"3 pages \(Z=3\)"),
        ({"metadata": None}, "3 pages"),
        ({"metadata": {"axes": "CYX"}, "ome": True}, "3 channels.*--channel 0"),
        ({"metadata": {"axes": "CYX"}, "imagej": True}, "3 channels.*--channel 0"),
        (
            {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": ["A", "DAPI", "B"]}}},
            r"3 channels \(A, DAPI, B\)",
        ),
    ],
)
def test_pages_and_channels_are_never_chosen_in_silence(tmp_path, options, says):
    path = tmp_path / ("a.ome.tif" if options.get("ome") else "a.tif")
    tifffile.imwrite(path, stack(), photometric="minisblack", **options)
    with pytest.raises(InputError, match=says):
        open_picture(path)
    axis = "channel" if "channels" in says else "page"
    for i in range(3):
        np.testing.assert_array_equal(open_picture(path, **{axis: i}).read(), stack()[i])
    with pytest.raises(InputError, match=f"has no {axis}.*3"):
        open_picture(path, **{axis: 3})
    if axis == "page":
        assert len(list(open_pictures(path))) == 3
    if "DAPI" in says:
        picture = open_picture(path, channel="DAPI")
        np.testing.assert_array_equal(picture.read(), stack()[1])
        assert picture.channel_names == ("A", "DAPI", "B")
        assert picture.read_all().shape == (*SHAPE, 3)


def test_fifty_pages_with_an_empty_first(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", stack(50), photometric="minisblack", compression="zlib")
    with pytest.raises(InputError, match="50 pages"):
        open_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(open_picture(tmp_path / "a.tif", page=49).read(), stack(50)[49])


def test_hyperstack_pages_run_over_all_but_the_channels(tmp_path):
    cube = np.arange(2 * 3 * 2 * 8 * 9, dtype=np.uint16).reshape(2, 3, 2, 8, 9)
    tifffile.imwrite(tmp_path / "a.tif", cube, imagej=True, metadata={"axes": "TZCYX"})
    with pytest.raises(InputError, match=r"6 pages \(T=2, Z=3\)"):
        open_picture(tmp_path / "a.tif", channel=1)
    tifffile.imwrite(tmp_path / "z.tif", cube[0], imagej=True, metadata={"axes": "ZCYX"})
    with pytest.raises(InputError, match=r"3 pages \(Z=3\).*--page all\.$"):  # no second C
        open_picture(tmp_path / "z.tif", channel=1)
    picture = open_picture(tmp_path / "a.tif", page=4, channel=1)
    np.testing.assert_array_equal(picture.read(), cube[1, 1, 1])
    assert picture.read_all().shape == (8, 9, 2)


def test_channels_that_come_last_and_axes_that_the_user_names(tmp_path):
    five = np.dstack([stack(5)[i] for i in range(5)])
    tifffile.imwrite(tmp_path / "a.tif", five, photometric="minisblack")
    with pytest.raises(InputError, match=r"48 pages.*--axes YXC"):
        open_picture(tmp_path / "a.tif")
    picture = open_picture(tmp_path / "a.tif", axes="YXC", channel=2)
    np.testing.assert_array_equal(picture.read(), five[:, :, 2])
    tifffile.imwrite(tmp_path / "b.tif", stack(), photometric="minisblack")
    picture = open_picture(tmp_path / "b.tif", axes="CYX", channel="0,1,2")
    np.testing.assert_array_equal(picture.read(), np.moveaxis(stack(), 0, 2))
    for wrong in ("YX", "CCYX", "CZYX", "CZT"):
        with pytest.raises(InputError, match=f"--axes {wrong} does not fit 3 x 48 x 64"):
            open_picture(tmp_path / "b.tif", axes=wrong)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_floats_of_several_channels_are_read(tmp_path, dtype, channels, compression):
    pixels = np.dstack([grey() * (i + 1) / 9 for i in range(channels)]).astype(dtype)
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels,
        planarconfig="contig",
        photometric="minisblack",
        metadata={"axes": "YXC"} if channels == 4 else None,
        compression=compression,
    )
    picture = open_picture(tmp_path / "a.tif", channel=1)
    np.testing.assert_array_equal(picture.read(), pixels[:, :, 1].astype(np.float32))
    with pytest.raises(InputError, match=f"{channels} channels"):
        open_picture(tmp_path / "a.tif")


def test_several_series_are_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(grey())
        file.write(grey(shape=(20, 30)))
    with pytest.raises(InputError, match="2 pages"):
        open_picture(tmp_path / "a.tif")
    assert open_picture(tmp_path / "a.tif", page=1).shape == (20, 30)
    assert [p.shape for p in open_pictures(tmp_path / "a.tif")] == [SHAPE, (20, 30)]


def pyramid(path):
    options = {"tile": (16, 16), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(path, ome=True) as file:
        size = {"PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}
        file.write(colour(), subifds=1, metadata=size, **options)
        file.write(colour()[::2, ::2], subfiletype=1, **options)


def test_levels_and_pixel_sizes(tmp_path):
    pyramid(tmp_path / "a.ome.tif")
    picture = open_picture(tmp_path / "a.ome.tif")
    assert picture.pixel_size == (0.5, 0.25)
    np.testing.assert_array_equal(picture.read(), colour())
    picture = open_picture(tmp_path / "a.ome.tif", level=1)
    assert picture.pixel_size == (1.0, 0.5)
    np.testing.assert_array_equal(picture.read(), colour()[::2, ::2])
    with pytest.raises(InputError, match="has no level 2; choose --level 0 to 1"):
        open_picture(tmp_path / "a.ome.tif", level=2)
    options = {"resolution": (4, 2), "metadata": {"unit": "micron"}}
    tifffile.imwrite(tmp_path / "j.tif", grey(), imagej=True, **options)
    assert open_picture(tmp_path / "j.tif").pixel_size == (0.5, 0.25)
    tifffile.imwrite(tmp_path / "d.tif", grey(), resolution=(72, 72), resolutionunit="INCH")
    assert open_picture(tmp_path / "d.tif").pixel_size is None  # a screen's dots say nothing


def test_arrays_say_their_axes():
    np.testing.assert_array_equal(array_picture(colour()).read(), colour())
    np.testing.assert_array_equal(array_picture(grey()).read(), grey())
    np.testing.assert_array_equal(array_picture(stack(), axes="zyx", page=1).read(), stack()[1])
    np.testing.assert_array_equal(array_picture(stack(), axes="CYX", channel=2).read(), stack()[2])
    for wrong in (stack(), np.zeros(5), np.zeros((2, 3, 4, 5))):
        with pytest.raises(InputError, match="name its axes"):
            array_picture(wrong)
    for wrong in (np.zeros((4, 4), complex), np.zeros((0, 4)), [["a"]]):
        with pytest.raises(InputError, match="is no picture"):
            array_picture(wrong)
    with pytest.raises(InputError, match="NaN"):
        array_picture(np.full((3, 3), np.nan)).read()


def test_overview_is_of_block_means():
    pixels = np.random.default_rng(0).random((1500, 2100)).astype(np.float32)
    seen = array_picture(pixels).overview()
    assert seen.shape == (500, 700)
    np.testing.assert_allclose(seen, pixels.reshape(500, 3, 700, 3).mean((1, 3)), atol=1e-6)
    ragged = array_picture(pixels[:1100, :1102]).overview()
    assert ragged.shape == (550, 551)


def damaged(tmp_path):
    """Files that promise what they do not hold, and the word that the sentence must say."""
    Image.fromarray(colour()).save(tmp_path / "a.png")
    Image.fromarray(colour()).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.png").read_bytes()
    yield "empty.png", b"", "empty"
    yield "half.png", whole[: len(whole) // 2], "not a readable"
    yield "text.tif", b"no picture", "not a readable"
    yield "half.jpg", (tmp_path / "a.jpg").read_bytes()[:500], "not a readable"
    huge = whole[:16] + struct.pack(">II", 60000, 60000) + whole[24:]
    yield "huge.png", huge, "not a readable|are more than"
    tifffile.imwrite(tmp_path / "a.tif", grey())
    tiff = (tmp_path / "a.tif").read_bytes()
    yield "half.tif", tiff[: len(tiff) // 2], "shorter|not a readable"
    tifffile.imwrite(tmp_path / "z.tif", grey(), compression="zlib")
    tiff = bytearray((tmp_path / "z.tif").read_bytes())
    tiff[-200:] = bytes(200)
    yield "broken.tif", bytes(tiff), "not a readable"
    tifffile.imwrite(tmp_path / "n.tif", np.full(SHAPE, np.inf, np.float32))
    yield "nan.tif", (tmp_path / "n.tif").read_bytes(), "NaN or infinite"
    tifffile.imwrite(tmp_path / "c.tif", np.full(SHAPE, 1j, np.complex64))
    yield "complex.tif", (tmp_path / "c.tif").read_bytes(), "save them as numbers"
    for name, says in (
        ("a.CZI", "save it as OME-TIFF"),
        ("a.nd2", "save it as OME-TIFF"),
        ("a.npy", "save the array as TIFF"),
        ("a.heic", "save it as PNG"),
        ("a.webp", "get the file again"),
    ):
        yield name, b"what no reader here knows", says


def test_damage_is_told_in_one_sentence(tmp_path):
    for name, data, says in damaged(tmp_path):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=says) as told:
            open_picture(tmp_path / name).read()
        assert str(told.value).startswith(str(tmp_path / name))
        assert "\n" not in str(told.value)
    for name, says in (("absent.png", "No such file"), (".", "no OME-Zarr")):
        with pytest.raises(InputError, match=says):
            open_picture(tmp_path / name)


def test_a_header_alone_takes_no_memory(tmp_path):
    """200,000 × 200,000 pixels are promised by some hundred bytes."""
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=True) as file:
        file.write(grey(), tile=(16, 16), compression="zlib")
    code = (
        "import resource; from ngat.io.picture import open_picture\n"
        "from ngat.errors import InputError\n"
        "import tifffile\n"
        "f = tifffile.TiffFile('a.tif', mode='r+')\n"
        "for n in (256, 257, 322, 323):\n"
        "    f.pages[0].tags[n].overwrite(200000 if n < 300 else 65536)\n"
        "f.close()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "try: open_picture('a.tif').read()\n"
        "except InputError as e: print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.stdout.startswith("a.tif: "), done.stderr
    assert done.stdout.count("\n") == 1
    assert MAX_BYTES <= 1 << 30


def test_what_is_a_picture_by_its_name(tmp_path):
    for name in ("a.PNG", "b.tiff", "c.svs", "d.jpeg", "e.webp"):
        assert is_picture(tmp_path / name)
    for name in ("._a.png", ".hidden.tif", "a.csv", "a.npy", "Thumbs.db"):
        assert not is_picture(tmp_path / name)


def test_floats_of_64_bits_that_32_do_not_hold():
    huge = array_picture(np.array([[0.0, 1e39], [1.0, 2.0]]))
    with pytest.raises(InputError, match=r"values beyond ±3\.4e38.*; divide them first"):
        huge.read()
    for offset, dtype in ((1e12, np.float64), (1 << 30, np.int32)):
        far = (grey(dtype=np.uint8) % 20 + np.float64(offset)).astype(dtype)
        with pytest.raises(InputError, match=r"differ too little.*; subtract their minimum"):
            array_picture(far).overview()
    # In bands, and with nothing but rounding to tell values apart: flat, but rightly so.
    tall = np.full((3000, 1500), 0.1)
    tall[2500:] += 1e-16
    assert np.ptp(array_picture(tall).overview()) == 0
    tall[2500:] += 1e-9
    with pytest.raises(InputError, match="subtract their minimum"):
        array_picture(tall).overview()


def test_options_that_do_not_fit_are_said_in_whole_sentences():
    with pytest.raises(
        InputError, match=r"has no channel '1'; it has one, so leave out --channel\.$"
    ):
        array_picture(grey(), channel=1)
    with pytest.raises(InputError, match="--axes '' does not fit"):
        array_picture(grey(), axes="")


def test_tensors_are_arrays_if_they_may_be():
    torch = pytest.importorskip("torch")
    assert array_picture(torch.zeros(8, 9)).shape == (8, 9)
    with pytest.raises(InputError, match=r"give a tensor as tensor\.detach\(\)"):
        array_picture(torch.zeros(8, 8, requires_grad=True))
