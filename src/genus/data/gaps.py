"""Windows of a stream in which some texts are told with a gap: what precedes it, what follows it, then what fills it.

Bavarian et al. 2022, arXiv 2207.14255: left-to-right training on texts so turned round teaches a model to fill in the
middle at no cost of what it else learns. A part of a text that stands in a window is cut at two places, drawn evenly
among its characters, and each of the three is encoded by itself, so a gap may begin inside a word. In which order they
are told the codec says (`Gaps`). What fills the gap is closed by the end mark, whether the text ends there or not.

Files follow each other as they were collected, folder after folder, and see each other in a window: so a file is told
with the files beside it. Marks of gaps do not count in the loss, since where a gap is was drawn by us. Held-out text is
judged as it is, from left to right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Codec, Gapped, Gaps, Noise, Source, Space, gapped
from genus.data.cache import Cache
from genus.data.packed import PackedConfig, padded
from genus.data.source import SourceConfig
from genus.errors import UsageError

ROOM = 12  # cells that marks and new borders of tokens may take
LEAST = 8  # cells of a text that is worth a gap


@final
class GapsConfig(SourceConfig):
    """window: cells of a sample. rate: share of texts with a gap."""

    kind: Literal["data.gaps"] = "data.gaps"
    window: int = Field(512, ge=2 * ROOM)
    rate: float = Field(0.5, ge=0, le=1)

    def space(self, space: Space) -> Space:
        """The codec's, one window long."""
        return self._whole.space(space)

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Windows in a new order, at a new offset and with new gaps each epoch. Raises `UsageError` for a codec without
        marks of gaps.
        """
        gaps = codec.gaps if isinstance(codec, Gapped) else None
        if gaps is None:
            raise UsageError(f"{self.kind} needs a codec with marks of gaps, such as codecs.bpe with codec.gaps=true")
        return Gapping(self, self._cut.over(cache, codec, seed, batch), codec, gaps, seed, batch)

    def samples(self, cache: Cache) -> int:
        """Windows of one epoch."""
        return self._cut.samples(cache)

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Texts as they are."""
        return self._whole.once(cache, codec, batch)

    @property
    def _whole(self) -> PackedConfig:
        return PackedConfig(window=self.window)

    @property
    def _cut(self) -> PackedConfig:
        return PackedConfig(window=self.window - ROOM)


@final
@dataclass(frozen=True)
class Gapping(Source):
    """A function of (seed, step). windows: of `window` less `ROOM` cells."""

    config: GapsConfig
    windows: Source
    codec: Codec
    gaps: Gaps
    seed: int
    size: int

    def batch(self, step: int) -> Batch:
        """[size, 1, window]; a row that grew longer is cut, a shorter one padded."""
        plain = self.windows.batch(step)
        assert plain.mask is not None
        window, x, mask = self.config.window, [], []
        for i in range(len(plain)):
            noise = Noise(self.seed).child("gaps").of([step * self.size + i])
            cells, counted = self._turned(plain.x[i], plain.mask[i], noise)
            x.append(padded(cells[:, :window], window))
            mask.append(padded(counted[:, :window], window))
        return Batch(torch.stack(x), mask=torch.stack(mask), ids=plain.ids)

    def _turned(self, x: Tensor, mask: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """A window [1, T] and which of it counts, some of its texts with a gap."""
        used = int(mask[0].nonzero().max()) + 1 if mask.any() else 0
        ends = torch.isin(x[0, :used], torch.tensor(self.codec.space.stops)).nonzero()[:, 0] + 1
        bounds = sorted({0, *ends.tolist(), used})
        chances = noise.uniform(0, (len(bounds), 3))[0].tolist()
        cells, counted = [], []
        for start, stop, (whether, *cuts) in zip(bounds, bounds[1:], chances, strict=False):
            made = None
            if whether < self.config.rate and stop - start >= LEAST:
                made = self._gap(x[:, start:stop], sorted(cuts))
            cells.append(x[:, start:stop] if made is None else made)
            counted.append(mask[:, start:stop] if made is None else ~torch.isin(made, torch.tensor(self.gaps.ids)))
        return torch.cat([x[:, :0], *cells], 1), torch.cat([mask[:, :0], *counted], 1)

    def _gap(self, x: Tensor, cuts: list[float]) -> Tensor | None:
        """A text's part with a gap; None if it ends or begins inside a character, so that it would not be the same."""
        text = str(self.codec.decode(x[None])[0])
        if "\ufffd" in text:
            return None
        first, second = (int(cut * (len(text) + 1)) for cut in cuts)
        told = self.codec.lift(gapped(self.codec, text[:first], text[second:]))
        return torch.cat([told, self.codec.lift(self.codec.encode([text[first:second]])[0])], 1)
