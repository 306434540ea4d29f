"""Pieces of documents, part of each told and the rest to be said: span corruption and continuation.

    piece    Once upon a time there was a king
    told     Once <0> a time there <1> king          said   <0> upon <1> was a <2>          spans
    told     Once upon a                             said   time there was a king           continuation

Raffel et al. 2019, arXiv 1910.10683: spans of some cells are cut out, a sentinel in the place of each, and their cells
are said behind the same sentinels; a last one ends them (section 3.1.4). The continuation (3.2.1, prefix language
modelling) teaches what a prompt asks for; where nothing is told, what is said is a document's beginning. A piece never
holds cells of two documents. What is told is a field (`passage`), for a conditioner that reads cells; sentinels are the
ids behind the codec's. Which cells are cut out is a function of seed and sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Codec, Source, Space
from genus.data.cache import Cache
from genus.data.source import SourceConfig, order
from genus.errors import UsageError

Cells = np.ndarray[Any, np.dtype[np.int64]]


class Piece(NamedTuple):
    """Cells start..stop of document `item`; first: it begins there."""

    item: int
    start: int
    stop: int
    first: bool


class Pair(NamedTuple):
    """What is told and what is to be said, ids each, and the record they are of."""

    told: Cells
    said: Cells
    name: str


@final
class SpansConfig(SourceConfig):
    """window: cells of a piece at most. rate: of a piece's cells that are cut out. mean: cells of a span.

    prefix: the share of pieces that are continued from some place instead.
    """

    kind: Literal["data.spans"] = "data.spans"
    window: int = Field(256, ge=4)
    rate: float = Field(0.15, gt=0, lt=1)
    mean: float = Field(3.0, ge=1)
    prefix: float = Field(0.5, ge=0, le=1)

    def space(self, space: Space) -> Space:
        """The codec's with sentinels behind its ids, one window long. Raises `UsageError` for no stream of ids."""
        if space.vocab is None or len(space.dims) != 1 or space.channels != 1:
            raise UsageError(f"{self.kind} reads text; choose a codec of text, e.g. codecs.bpe")
        _, most = self.cut(self.window)
        return replace(space, dims=(self.window,), vocab=space.vocab + most + 1, ends=space.stops)

    def cut(self, cells: int) -> tuple[int, int]:
        """How many of so many cells are cut out, and in how many spans."""
        out = min(max(round(cells * self.rate), 1), cells - 1)
        return out, max(1, min(round(out / self.mean), cells - out))

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Pieces in a new order each epoch, cut anew."""
        return Spans(self, cache, codec, self.pieces(cache), seed, batch)

    def samples(self, cache: Cache) -> int:
        """Pieces."""
        return len(self.pieces(cache))

    def pieces(self, cache: Cache) -> list[Piece]:
        """Documents in as few pieces as the window allows, about equally long."""
        found = []
        for item in range(len(cache)):
            start, stop = int(cache.starts[item]), int(cache.starts[item + 1])
            number = -(-(stop - start) // self.window)
            places = np.linspace(start, stop, number + 1).round().astype(int).tolist()
            found += [Piece(item, a, b, a == start) for a, b in pairwise(places)]
        return found

    def judged(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Every piece once, cut as training cuts, always in the same places."""
        source = Spans(self, cache, codec, self.pieces(cache), 0, batch)
        pairs = (source.pair(piece, i) for i, piece in enumerate(source.pieces))
        return batched(pairs, codec, batch)

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Every cell said once: a document's beginning with nothing told, what follows behind half a window of it."""
        return batched(self._parts(cache), codec, batch)

    def _parts(self, cache: Cache) -> Iterator[Pair]:
        half = self.window // 2
        for item, name in enumerate(cache.ids):
            start, stop = int(cache.starts[item]), int(cache.starts[item + 1])
            done = start
            while done < stop:
                right = min(stop, done + (self.window if done == start else half))
                told = max(start, done - half) if done > start else done
                yield Pair(cells(cache, told, done), cells(cache, done, right), name)
                done = right


def cells(cache: Cache, start: int, stop: int) -> Cells:
    """Ids start..stop of a stream."""
    found: Cells = np.asarray(cache.cells[start:stop, 0]).astype(np.int64)
    return found


def parted(total: int, parts: int, draw: np.random.Generator) -> Cells:
    """So many lengths, each at least 1, of this sum; all such are equally likely."""
    ends = np.sort(draw.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], ends, [total]]))


def corrupted(x: Cells, out: int, spans: int, first: int, draw: np.random.Generator) -> tuple[Cells, Cells]:
    """(told, said) of ids x, `out` of them cut out in so many spans; sentinels are ids from `first` on.

    A piece begins with cells that stay and ends with a span, so that every way to lay them is one of two partitions.
    """
    kept, gone = parted(len(x) - out, spans, draw), parted(out, spans, draw)
    marks = np.arange(first, first + spans + 1)
    told: list[Cells] = []
    said: list[Cells] = []
    at = 0
    for i, (stay, go) in enumerate(zip(kept.tolist(), gone.tolist(), strict=True)):
        told += [x[at : at + stay], marks[i : i + 1]]
        said += [marks[i : i + 1], x[at + stay : at + stay + go]]
        at += stay + go
    return np.concatenate(told), np.concatenate([*said, marks[spans:]])


def batched(pairs: Iterable[Pair], codec: Codec, batch: int) -> Iterator[Batch]:
    """All of them in order."""
    some: list[Pair] = []
    for pair in pairs:
        some.append(pair)
        if len(some) == batch:
            yield joined(some, codec)
            some = []
    if some:
        yield joined(some, codec)


STEP = 16  # lengths of rows are multiples of this, so that few different ones occur


def joined(pairs: Sequence[Pair], codec: Codec) -> Batch:
    """x [B, 1, T]: what is said, padded behind; the field `passage`: what is told, ids each."""
    length = -(-max(len(pair.said) for pair in pairs) // STEP) * STEP
    x, mask = torch.zeros(len(pairs), 1, length, dtype=torch.long), torch.zeros(len(pairs), 1, length, dtype=torch.bool)
    for i, pair in enumerate(pairs):
        x[i, 0, : len(pair.said)] = torch.from_numpy(pair.said)
        mask[i, 0, : len(pair.said)] = True
    passages: list[Tensor] = [torch.from_numpy(pair.told) for pair in pairs]
    return Batch(codec.lift(x), {"passage": passages}, mask=mask, ids=[pair.name for pair in pairs])


@final
@dataclass(frozen=True)
class Spans(Source):
    """A function of (seed, step); see the module."""

    config: SpansConfig
    cache: Cache
    codec: Codec
    pieces: Sequence[Piece]
    seed: int
    size: int

    def batch(self, step: int) -> Batch:
        """[size, 1, T], T as long as the longest row needs."""
        first = step * self.size
        some = order(self.seed, first, self.size, len(self.pieces))
        return joined([self.pair(self.pieces[i], first + n) for n, (_, i) in enumerate(some)], self.codec)

    def pair(self, piece: Piece, sample: int) -> Pair:
        """What becomes of a piece as this sample."""
        draw = np.random.Generator(np.random.Philox(key=np.array([self.seed ^ 0x75, sample], np.uint64)))
        x, name = cells(self.cache, piece.start, piece.stop), self.cache.ids[piece.item]
        if len(x) < 4 or draw.random() < self.config.prefix:
            at = int(draw.integers(0 if piece.first else min(1, len(x) - 1), len(x)))
            return Pair(x[:at], x[at:], name)
        vocab = self.codec.space.vocab
        assert vocab is not None
        return Pair(*corrupted(x, *self.config.cut(len(x)), vocab, draw), name)
