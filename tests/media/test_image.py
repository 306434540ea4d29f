"""Every format and mode of the list comes out as the same upright sRGB pixels; every kind of damage is named."""

from __future__ import annotations

import io
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from genus.media import MEDIA, Damaged, image, sniff


def picture(channels: int = 3, side: int = 24) -> np.ndarray:
    """Smooth, so that lossy formats keep it, and different at every corner."""
    y, x = np.mgrid[0:side, 0:side] * (200 // side)
    layers = [x, y, (x + y) // 2, 255 - (x + y) // 4][:channels]
    return np.stack(layers, -1).astype(np.uint8)


def stored(x: np.ndarray, form: str, mode: str | None = None, **options: object) -> bytes:
    out = io.BytesIO()
    made = PIL.Image.fromarray(x[:, :, 0] if x.shape[2] == 1 else x)
    (made.convert(mode) if mode else made).save(out, form, **options)
    return out.getvalue()


LOSSLESS = [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("BMP", {})]
LOSSY = [("JPEG", {"quality": 95, "subsampling": 0}), ("WEBP", {"quality": 95}), ("AVIF", {"quality": 95})]


@pytest.mark.parametrize(("form", "options"), LOSSLESS)
def test_lossless_formats_give_the_very_pixels(form, options):
    x = picture()
    data = stored(x, form, **options)
    assert image.kind(data) == form
    assert np.array_equal(image.read(data), x)


@pytest.mark.parametrize(("form", "options"), LOSSY)
def test_lossy_formats_come_near(form, options):
    x = picture()
    data = stored(x, form, **options)
    assert image.kind(data) == form
    assert np.abs(image.read(data).astype(int) - x).mean() < 4


def test_gif_and_palettes_become_colours():
    x = (picture() // 128 * 255).astype(np.uint8)
    for form in ("GIF", "PNG"):
        got = image.read(stored(x, form, "P"))
        assert got.shape == x.shape
        assert np.abs(got.astype(int) - x).mean() < 8


def test_the_first_frame_of_an_animation():
    frames = [PIL.Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    assert image.read(out.getvalue())[0, 0].tolist() == [255, 0, 0]


def test_channels_say_what_there_is():
    assert image.read(stored(picture(1), "PNG")).shape == (24, 24, 1)
    assert image.read(stored(picture(1), "PNG", "1")).shape == (24, 24, 1)
    assert image.read(stored(picture(4), "PNG")).shape == (24, 24, 4)
    opaque = picture(4)
    opaque[:, :, 3] = 255
    assert image.read(stored(opaque, "PNG")).shape == (24, 24, 3)
    assert image.read(stored(picture(3), "JPEG", "CMYK")).shape == (24, 24, 3)


def test_transparency_in_a_palette_is_kept():
    made = PIL.Image.fromarray(picture()).convert("P")
    out = io.BytesIO()
    made.save(out, "PNG", transparency=made.getpixel((3, 3)))
    got = image.read(out.getvalue())
    assert got.shape[2] == 4
    assert got[3, 3, 3] == 0


def test_sixteen_bits_are_scaled_not_cut():
    x = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    for form in ("PNG", "TIFF"):
        out = io.BytesIO()
        PIL.Image.fromarray(x).save(out, form)
        got = image.read(out.getvalue())[:, :, 0]
        assert np.abs(got.astype(int) - np.round(x / 257)).max() <= 1
    out = io.BytesIO()
    PIL.Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(out, "TIFF")
    got = image.read(out.getvalue())
    assert (got.min(), got.max()) == (0, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    x = picture(3)[:, :16]
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    turned = {
        1: x,
        2: x[:, ::-1],
        3: x[::-1, ::-1],
        4: x[::-1],
        5: x.transpose(1, 0, 2),
        6: np.rot90(x, -1),
        7: x.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(x, 1),
    }[orientation]
    assert np.array_equal(image.read(stored(x, "PNG", exif=exif)), turned)


def test_colour_profiles_are_converted_to_srgb():
    lab = ImageCms.createProfile("LAB")
    made = PIL.Image.new("LAB", (4, 4), (128, 200, 128))
    profile = ImageCms.ImageCmsProfile(lab).tobytes()
    expected = ImageCms.profileToProfile(made, lab, ImageCms.createProfile("sRGB"), outputMode="RGB")
    out = io.BytesIO()
    made.save(out, "TIFF", icc_profile=profile)
    assert np.array_equal(image.read(out.getvalue()), np.asarray(expected))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(image.read(stored(picture(), "PNG", icc_profile=srgb)), picture())
    assert np.array_equal(image.read(stored(picture(), "PNG", icc_profile=b"broken")), picture())


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_half_a_file_is_damaged_in_every_format(form):
    rng = np.random.default_rng(0)
    data = stored(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8), form, "P" if form == "GIF" else None)
    with pytest.raises(Damaged) as caught:
        image.check(data[: len(data) // 2])
    assert caught.value.reason in ("truncated", "damaged")


def test_a_bomb_is_refused_before_it_is_decoded():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = (60000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(Damaged) as caught:
        image.read(bomb)
    assert caught.value.reason == "decompression bomb"


def test_tiff_of_long_offsets():
    assert np.array_equal(image.read(stored(picture(), "TIFF", big_tiff=True)), picture())


def test_what_is_no_image_says_so():
    for data, reason in (
        (b"", "empty"),
        (b"\0\1\2\3" * 20, "unknown type"),
        (b"BM is how this text begins", "unknown type"),
    ):
        with pytest.raises(Damaged) as caught:
            image.read(data)
        assert caught.value.reason == reason


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_written_images_read_back_exactly(channels):
    x = picture(channels)
    assert np.array_equal(image.read(image.write(x)), x)


def test_fingerprint_stays_near_for_the_same_picture_and_far_for_others():
    coarse = np.random.default_rng(0).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    one = np.asarray(PIL.Image.fromarray(coarse).resize((64, 64), PIL.Image.Resampling.BICUBIC))
    other = np.ascontiguousarray(np.rot90(one))
    mark = image.fingerprint(one)
    again = image.read(stored(one, "JPEG", quality=60))
    small = np.asarray(PIL.Image.fromarray(one).resize((40, 40)))
    assert (mark ^ image.fingerprint(again)).bit_count() <= 4
    assert (mark ^ image.fingerprint(small)).bit_count() <= 6
    assert (mark ^ image.fingerprint(other)).bit_count() > 16
    assert image.fingerprint(np.full((9, 9, 3), 7, np.uint8)) == 0


def test_preview_is_one_sheet(tmp_path):
    path = image.preview([picture(), picture(1), picture(4)], tmp_path / "sheet")
    assert path.suffix == ".png"
    with PIL.Image.open(path) as sheet:
        assert sheet.size == (52, 52)


def test_a_name_cannot_make_an_image():
    assert sniff(b"\0\1\2\3" * 50, "photo.png") is None
    assert sniff(b"just some words", "photo.png") == "text"
    assert sniff(stored(picture(), "PNG"), "notes.txt") == "image"
    assert MEDIA["image"].suffix == ".png"
