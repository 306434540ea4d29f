"""Pictures as tokens, one a channel of a pixel: uint8 [H, W, C] <-> long [1, H, W] or [1, H, W, C].

For objectives that need a vocabulary. Channels are a last axis, so in raster order they come one after another: a
likelihood over tokens then is one of pixels, whatever colours depend on each other (van den Oord et al. 2016, arXiv
1601.06759). All 256 levels lose nothing; with fewer it is the coarser picture whose probability is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.codecs.pixels import PixelsConfig
from genus.core import Codec, CodecConfig, Space
from genus.parts import Any_


@final
class Levels:
    """Another codec's pixels, 0 .. 255, rounded to `levels` even steps."""

    streams = False
    coded = False

    def __init__(self, pixels: Codec, levels: int) -> None:
        self.pixels, self.levels = pixels, levels
        channels = pixels.space.channels
        dims = pixels.space.dims if channels == 1 else (*pixels.space.dims, channels)
        self.space = Space(dims, 1, levels, grain=2 / (levels - 1))

    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Each picture as uint8 [1, *dims] in 0 .. levels - 1."""
        return [self._last(x.float() * (self.levels - 1) / 255) for x in self.pixels.encode(media)]

    def _last(self, x: Tensor) -> Tensor:
        return x.round().to(torch.uint8).movedim(0, -1).reshape(self.space.shape).contiguous()

    def like(self, media: Sequence[Any]) -> list[Any]:
        """Pictures at this size, all their levels."""
        return self.pixels.like(media)

    def lift(self, stored: Tensor) -> Tensor:
        """Levels as long."""
        return stored.long()

    def decode(self, x: Tensor) -> list[Any]:
        """[B, 1, *dims] as uint8 pictures."""
        x = x.view(len(x), *self.pixels.space.dims, self.pixels.space.channels).movedim(-1, 1)
        return self.pixels.decode(x.float() * 2 / (self.levels - 1) - 1)

    def save(self, folder: Path) -> LevelsConfig:
        """Nothing but its configuration."""
        return LevelsConfig(levels=self.levels, pixels=self.pixels.save(folder))


@final
class LevelsConfig(CodecConfig):
    """levels: steps of each channel. pixels: how pictures become pixels first."""

    kind: Literal["codecs.levels"] = "codecs.levels"
    levels: int = Field(256, ge=2, le=256)
    pixels: Any_[CodecConfig] = PixelsConfig()

    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """The size is found in the data; levels are given."""
        return Levels(self.pixels.fit(media), self.levels)

    def load(self, folder: Path) -> Codec:
        """From the resolved configuration."""
        return Levels(self.pixels.load(folder), self.levels)
