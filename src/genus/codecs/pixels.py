"""Pictures as pixels: uint8 [H, W, C] <-> float [C, H, W] in [-1, 1]. One size for all: cropped to the shape,
resampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from genus.core import Codec, CodecConfig, Space
from genus.errors import GenusError

CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}


@final
class Pixels:
    """uint8 pictures of any size and mode <-> [C, H, W]."""

    streams = False
    coded = False

    def __init__(self, height: int, width: int, channels: int) -> None:
        self.space = Space((height, width), channels, grain=2 / 255)

    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Each picture as uint8 [C, H, W]: the largest centred piece of the right shape, resampled with a box-free
        filter.
        """
        return [torch.from_numpy(self._fit(picture)).permute(2, 0, 1).contiguous() for picture in media]

    def _fit(self, picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        (height, width), channels = self.space.dims, self.space.channels
        if picture.shape == (height, width, channels):
            return unhidden(picture)
        picture = picture[:, :, None] if picture.ndim == 2 else picture
        image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
        if channels < 4 and image.mode == "RGBA":  # transparency lies on white, as on a page
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert(CHANNELS[channels])
        if image.size != (width, height):
            scale = min(image.width / width, image.height / height)
            w, h = scale * width, scale * height
            left, top = (image.width - w) / 2, (image.height - h) / 2
            image = image.resize((width, height), Image.Resampling.LANCZOS, box=(left, top, left + w, top + h))
        return unhidden(np.asarray(image).reshape(height, width, channels))

    def like(self, media: Sequence[Any]) -> list[Any]:
        """Pictures at this size and mode."""
        return [self._fit(picture) for picture in media]

    def lift(self, stored: Tensor) -> Tensor:
        """uint8 0 .. 255 as float -1 .. 1."""
        return stored.float() / 127.5 - 1

    def decode(self, x: Tensor) -> list[np.ndarray[Any, Any]]:
        """[B, C, H, W] as uint8 [H, W, C], rounded, clipped."""
        pixels = ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return list(pixels.permute(0, 2, 3, 1).cpu().numpy())

    def save(self, folder: Path) -> PixelsConfig:
        """The shape stands in the configuration itself."""
        height, width = self.space.dims
        return PixelsConfig(height=height, width=width, channels=self.space.channels)


def unhidden(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy in which what nobody sees is white: files keep any colour under full transparency, and often keep one."""
    out = picture.copy()
    if picture.shape[2] == 4:
        out[out[:, :, 3] == 0, :3] = 255
    return out


@final
class PixelsConfig(CodecConfig):
    """height, width, channels: None finds them in the data; `largest` bounds a side that was found."""

    kind: Literal["codecs.pixels"] = "codecs.pixels"
    height: int | None = Field(None, ge=4, le=1024)
    width: int | None = Field(None, ge=4, le=1024)
    channels: Literal[1, 3, 4] | None = None
    largest: int = Field(64, ge=4, le=1024)

    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """The commonest size among the first thousand pictures, made no larger than `largest`; the richest mode."""
        shapes = Counter(tuple(picture.shape) for picture in islice(media(), 1000))
        if not shapes:
            raise GenusError("there is no picture to train on; collect some, or loosen the rules of clean")
        (height, width), times = Counter({s[:2]: n for s, n in shapes.items()}).most_common(1)[0]
        if times < shapes.total() / 2:  # no common size: a square
            height = width = min(min(s[:2]) for s in shapes)
        scale = min(1.0, self.largest / max(height, width))
        found = (max(4, round(height * scale)), max(4, round(width * scale)))
        modes = Counter({s[2]: 0 for s in shapes})
        for shape, n in shapes.items():
            modes[shape[2]] += n
        # A few odd files do not decide: the mode that most pictures have.
        return Pixels(self.height or found[0], self.width or found[1], self.channels or modes.most_common(1)[0][0])

    def load(self, folder: Path) -> Codec:
        """From the resolved shape."""
        assert self.height and self.width and self.channels, "a saved pixel codec states its shape"
        return Pixels(self.height, self.width, self.channels)
