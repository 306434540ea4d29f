"""Images as uint8 [H, W, C], upright, in sRGB. Not here: resizing to a model's size (`genus.codecs`).

Pillow decodes; around it stands what it leaves open: the orientation of EXIF, colour profiles, 16 bits, palettes, and
limits, because a few kilobytes can claim to be a picture of gigabytes.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genus import files
from genus.media.medium import Damaged, Medium

#: 8,192 x 8,192: decoded, 256 MiB at most.
PIXELS = 1 << 26
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")

#: Messages are stored, so they may not change from run to run.
_ADDRESS = re.compile(r" ?<[^>]*at 0x[0-9a-f]+>")

Image = np.ndarray[Any, np.dtype[np.uint8]]


def kind(head: bytes) -> str | None:
    """Pillow's name of the format that these first bytes announce, or None."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):  # the last two: over 4 GB, by their offsets
        return "TIFF"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and 12 <= int.from_bytes(head[14:18], "little") <= 124:
        return "BMP"
    if head[4:8] == b"ftyp" and (head[8:12] in (b"avif", b"avis") or b"avif" in head[16:64]):
        return "AVIF"
    return None


def read(data: bytes) -> Image:
    """uint8 [H, W, C]: C 1 grey, 3 RGB, 4 RGBA (only where something is transparent). The first frame of an animation.

    Raises `Damaged`: "empty", "unknown type", "decompression bomb" (over `PIXELS`), "truncated" or "damaged".
    """
    image: Image = _decoded(data, pixels)
    return image


def check(data: bytes) -> None:
    """Raises as `read`."""
    _decoded(data, lambda picture: None)


def _decoded(data: bytes, then: Callable[[Any], Any]) -> Any:
    """`then` of the loaded picture."""
    import PIL.Image

    if not data:
        raise Damaged("empty", "0 bytes")
    form = kind(data[:64])
    if form is None:
        raise Damaged("unknown type", f"no image format begins with {data[:8]!r}")
    try:
        # Pillow warns of what it mends (broken EXIF, odd chunks); the pixels are what counts here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(data), formats=(form,)) as picture:
                width, height = picture.size
                if width * height > PIXELS:
                    raise Damaged("decompression bomb", f"{width} x {height} pixels in {len(data)} bytes")
                picture.load()
                return then(picture)
    except Damaged:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise Damaged("decompression bomb", str(error)) from None
    except (
        Exception
    ) as error:  # Decoders fail in every way there is: OSError, SyntaxError, struct.error, IndexError ...
        said = _ADDRESS.sub("", str(error))
        marks = ("truncat", "unexpected end", "not enough", "incomplete", "eof")
        reason = "truncated" if any(mark in said.lower() for mark in marks) else "damaged"
        raise Damaged(reason, f"{form}: {said or type(error).__name__}") from None


def pixels(picture: Any) -> Image:
    """A loaded Pillow picture of any mode as uint8 [H, W, C], upright, in sRGB."""
    from PIL import ImageOps

    profile = picture.info.get("icc_profile")
    clear = picture.has_transparency_data
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return scaled(np.asarray(picture))[:, :, None]
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA" if clear else "RGB")
    elif clear and picture.mode != "RGBA":
        picture = picture.convert("RGBA")
    elif picture.mode == "1":
        picture = picture.convert("L")
    if profile:
        picture = to_srgb(picture, profile)
    if picture.mode not in ("L", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    x = np.array(picture, dtype=np.uint8)
    if x.ndim == 2:
        return x[:, :, None]
    return np.ascontiguousarray(x[:, :, :3]) if x.shape[2] == 4 and x[:, :, 3].min() == 255 else x


def scaled(x: np.ndarray[Any, Any]) -> Image:
    """Grey of more than 8 bits, or real: [0, 65535] by 257, reals in [0, 1] by 255, anything wider from min to max."""
    real = np.where(np.isfinite(x), x, 0).astype(np.float64)
    low, high = float(real.min()), float(real.max())
    if x.dtype.kind == "f" and low >= 0 and high <= 1:
        real = real * 255
    elif low >= 0 and high <= 65535 and x.dtype.kind != "f":
        real = real / 257
    elif low < 0 or high > 255:
        real = (real - low) * (255 / (high - low))
    return np.floor(real + 0.5).astype(np.uint8)


def to_srgb(picture: Any, profile: bytes) -> Any:
    """From its colour profile to sRGB; a profile that cannot be used is passed over, as browsers do."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in (ImageCms.getProfileDescription(source) or ""):
            return picture
        alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
        colour: Any = picture.convert("RGB") if alpha is not None else picture
        grey = picture.mode == "L"
        colour = ImageCms.profileToProfile(colour, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        if alpha is not None:
            colour.putalpha(alpha)
        return colour.getchannel("G") if grey else colour
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture


def write(media: Image) -> bytes:
    """PNG."""
    import PIL.Image

    x = media[:, :, 0] if media.shape[2] == 1 else media
    out = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(x)).save(out, "PNG")
    return out.getvalue()


def preview(media: Sequence[Any], path: Path) -> Path:
    """A sheet of at most 100 pictures in rows, on white, each in a cell of the largest one's size (256 at most)."""
    import PIL.Image

    some = [PIL.Image.fromarray(m[:, :, 0] if m.shape[2] == 1 else m).convert("RGBA") for m in media[:100]]
    for picture in some:
        picture.thumbnail((256, 256))
    across = max(1, math.ceil(math.sqrt(len(some))))
    wide = max((p.width for p in some), default=1) + 2
    high = max((p.height for p in some), default=1) + 2
    sheet = PIL.Image.new("RGB", (across * wide, max(1, math.ceil(len(some) / across)) * high), "white")
    for i, picture in enumerate(some):
        row, column = divmod(i, across)
        sheet.paste(picture, (column * wide + 1, row * high + 1), picture)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return files.write(path.with_suffix(".png"), out.getvalue())


def fingerprint(media: Image) -> int:
    """pHash: the signs, about their median, of the 8 x 8 lowest cosine frequencies of the picture at 32 x 32, grey.

    Zauner 2010, Implementation and benchmarking of perceptual image hash functions. Transparent parts count as white.
    Blank pictures all have fingerprint 0: they have no frequencies to compare.
    """
    import PIL.Image

    x = media.astype(np.float32)
    grey = x[:, :, 0] if x.shape[2] == 1 else x[:, :, :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    if x.shape[2] == 4:
        opaque = x[:, :, 3] / 255
        grey = np.asarray(grey * opaque + 255 * (1 - opaque), np.float32)
    small = np.asarray(PIL.Image.fromarray(grey).resize((32, 32), PIL.Image.Resampling.BOX), np.float64)
    k, n = np.arange(8)[:, None], np.arange(32)[None, :]
    cosine = np.cos(np.pi * k * (2 * n + 1) / 64)
    low = (cosine @ small @ cosine.T).ravel()
    # The constant term says how bright the picture is, not what is in it; nor do ripples of rounding.
    low[0] = 0
    if np.abs(low).max() < 1:
        return 0
    bits = low > np.median(low[1:])
    bits[0] = False
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


MEDIUM = Medium(
    name="image",
    suffix=".png",
    claims=lambda head, _: kind(head) is not None,
    read=read,
    check=check,
    write=write,
    preview=preview,
    fingerprint=fingerprint,
)
