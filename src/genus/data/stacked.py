"""One item a sample: pictures, spectrograms of one length, solids; with the record's fields for the conditioner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, final

from genus.core import Batch, Codec, Source, Space
from genus.data.cache import Cache
from genus.data.source import SourceConfig, order


@final
class StackedConfig(SourceConfig):
    """No knobs."""

    kind: Literal["data.stacked"] = "data.stacked"

    def space(self, space: Space) -> Space:
        """The codec's own."""
        return space

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Items in a new order each epoch."""
        return Stacked(cache, codec, seed, batch)

    def samples(self, cache: Cache) -> int:
        """Items."""
        return len(cache)

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Items in order."""
        for start in range(0, len(cache), batch):
            yield picked(cache, codec, range(start, min(start + batch, len(cache))))


def picked(cache: Cache, codec: Codec, items: Sequence[int]) -> Batch:
    """These items as a batch."""
    fields = {name: [column[i] for i in items] for name, column in cache.fields.items()}
    return Batch(codec.lift(cache.take(items)), fields=fields, ids=[cache.ids[i] for i in items])


@final
@dataclass(frozen=True)
class Stacked(Source):
    """A function of (seed, step)."""

    cache: Cache
    codec: Codec
    seed: int
    size: int

    def batch(self, step: int) -> Batch:
        """[size, C, *dims]."""
        return picked(
            self.cache, self.codec, [i for _, i in order(self.seed, step * self.size, self.size, len(self.cache))]
        )
