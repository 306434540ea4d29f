"""Windows of a stream: documents follow each other, each closed by its end mark, and are cut to one length.

Cell 0 of a window is there for context and counts only where a document starts: a network reads it after its own begin
mark, which so comes to mean the start of a document. Neighbouring windows overlap by that one cell.

Documents that share a window may see each other, or be kept apart (`alone`): then each is read behind a begin mark of
its own and by itself, as it is when it is scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from genus.core import STARTS, Batch, Codec, Source, Space
from genus.data.cache import Cache
from genus.data.source import SourceConfig, order, permutation


@final
class PackedConfig(SourceConfig):
    """window: cells of a sample. alone: whether a document sees nothing of those before it in its window."""

    kind: Literal["data.packed"] = "data.packed"
    window: int = Field(256, ge=2)
    alone: bool = False

    def space(self, space: Space) -> Space:
        """The codec's, one window long."""
        return replace(space, dims=(self.window,))

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Windows in a new order, at a new offset, each epoch."""
        return Packed(cache, codec, self.window, self.samples(cache), seed, batch, self.alone)

    def samples(self, cache: Cache) -> int:
        """Windows of one epoch; at least one, padded, however short the stream is."""
        return max(1, (cache.total - self.window) // (self.window - 1))

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Each document by itself; a window begins half a window before the cells it counts, so they have context."""
        rows: list[tuple[Tensor, Tensor, str]] = []
        half = max(1, self.window // 2)
        for i, name in enumerate(cache.ids):
            start, stop = int(cache.starts[i]), int(cache.starts[i + 1])
            done = start  # cells before this one have been counted
            while done < stop:
                left = start if done == start else done - half
                right = min(left + self.window, stop)
                mask = torch.zeros(codec.space.channels, self.window, dtype=torch.bool)
                mask[:, done - left : right - left] = True
                rows.append((padded(cache.cut(left, right), self.window), mask, name))
                done = right
                if len(rows) == batch:
                    yield joined(rows, codec)
                    rows = []
        if rows:
            yield joined(rows, codec)


def padded(x: Tensor, window: int) -> Tensor:
    """[C, T] with zeros behind, to the window's length; a mask must not count them."""
    return torch.nn.functional.pad(x, (0, window - x.shape[1]))


def joined(rows: list[tuple[Tensor, Tensor, str]], codec: Codec) -> Batch:
    """Rows of (stored cells, mask, id) as one batch."""
    x, mask, ids = zip(*rows, strict=True)
    return Batch(codec.lift(torch.stack(x)), mask=torch.stack(mask), ids=ids)


@final
@dataclass(frozen=True)
class Packed(Source):
    """A function of (seed, step); see the module."""

    cache: Cache
    codec: Codec
    window: int
    windows: int
    seed: int
    size: int
    alone: bool = False

    def batch(self, step: int) -> Batch:
        """[size, C, window]; the ids are those of the documents in which the windows begin. extra: `starts` [size,
        window] bool, where texts begin that shall stand alone.
        """
        rows, starts = [], torch.zeros(self.size, self.window, dtype=torch.bool)
        starts[:, 0] = True
        stride = self.window - 1
        room = max(1, self.cache.total - self.window - (self.windows - 1) * stride + 1)
        for row, (epoch, index) in enumerate(order(self.seed, step * self.size, self.size, self.windows)):
            # Another offset each epoch, so that over the epochs every cell is seen at every position.
            shift = int(permutation(self.seed ^ 0x5F, epoch, room)[0]) if room > 1 else 0
            left = shift + index * stride
            right = min(left + self.window, self.cache.total)
            mask = torch.zeros(self.codec.space.channels, self.window, dtype=torch.bool)
            mask[:, 1 : right - left] = True
            document = int(np.searchsorted(self.cache.starts, left, side="right")) - 1
            mask[:, 0] = int(self.cache.starts[document]) == left
            rows.append((padded(self.cache.cut(left, right), self.window), mask, self.cache.ids[document]))
            first, stop = np.searchsorted(self.cache.starts, (left, right))
            starts[row, torch.from_numpy(self.cache.starts[first:stop] - left)] = True
        made = joined(rows, self.codec)
        return replace(made, extra={STARTS: starts}) if self.alone else made
