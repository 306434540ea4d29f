"""Conversations, one a row: the loss counts what the assistant says and nothing else.

A row begins at its conversation's beginning and is padded behind, so no conversation sees another. One that is longer
than the window goes on in further rows, each of which begins half a window before the cells it counts. Texts that are
no conversation are left out of training and counted whole by `once`, which scores whatever it is given.

The cache holds two channels of a stream: ids, and what they are (`SAID`, `WORSE`, `PLAIN`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from genus import dialogue
from genus.core import Batch, Codec, Source, Space, conversed
from genus.data.cache import Cache
from genus.data.source import SourceConfig, order
from genus.errors import UsageError

#: Bits of the second channel. SAID: counts. WORSE: of the conversation as it should not have gone. PLAIN: of no
#: conversation.
SAID, WORSE, PLAIN = 1, 2, 4
STEP = 16  # lengths of rows are multiples of this, so that few different ones occur


def marked(codec: Codec, media: Sequence[Any]) -> list[Tensor]:
    """Texts as [2, T]: ids of the conversation as it should have gone, of it as it should not, and what they are."""
    found = []
    for text in media:
        messages = dialogue.read(text)
        rows = []
        for bit, version in zip((0, WORSE), dialogue.versions(messages), strict=True):
            if version:
                ids, said = conversed(codec, version)
                rows.append(torch.cat([ids, (said * SAID + bit)[None].to(ids.dtype)]))
        if not messages:
            ids = codec.encode([text])[0]
            rows.append(torch.cat([ids, torch.full_like(ids, SAID + PLAIN)]))
        found.append(torch.cat(rows, dim=1) if rows else codec.encode([""])[0][:, :0].expand(2, 0))
    return found


class Piece(NamedTuple):
    """Cells start..stop of a cache, those from `counts` on counted. item: which one they are of."""

    item: int
    start: int
    counts: int
    stop: int


def stretches(cache: Cache, window: int, bits: int, wanted: int) -> list[Piece]:
    """Pieces of at most `window` cells which count each cell that is said once; of those whose `bits` are `wanted`."""
    marks = np.asarray(cache.cells[:, 1])
    found = []
    for item in range(len(cache)):
        first, last = int(cache.starts[item]), int(cache.starts[item + 1])
        mine = np.flatnonzero((marks[first:last] & bits) == wanted)
        if not len(mine):
            continue
        start, end = first + int(mine[0]), first + int(mine[-1]) + 1
        done = start
        while done < end:
            left = start if done == start else done - max(1, window // 2)
            right = min(left + window, end)
            if (marks[done:right] & SAID).any():
                found.append(Piece(item, left, done, right))
            done = right
    return found


def stacked(cache: Cache, codec: Codec, pieces: Iterable[Piece], least: int = 0) -> Batch:
    """Pieces as rows, padded behind to the longest; `mask`: what is said. least: cells that a row has at least."""
    some = list(pieces)
    longest = max([least, *(piece.stop - piece.start for piece in some)])
    length = -(-longest // STEP) * STEP
    x, mask = [], []
    for piece in some:
        cells = cache.cut(piece.start, piece.stop)
        said = (cells[1:] & SAID).bool()
        said[:, : piece.counts - piece.start] = False
        room = (0, length - cells.shape[1])
        x.append(torch.nn.functional.pad(cells[:1], room))
        mask.append(torch.nn.functional.pad(said, room))
    return Batch(codec.lift(torch.stack(x)), mask=torch.stack(mask), ids=[cache.ids[piece.item] for piece in some])


@final
class DialogueConfig(SourceConfig):
    """window: cells of a row at most; a shorter conversation takes no more than it needs."""

    kind: Literal["data.dialogue"] = "data.dialogue"
    reading: ClassVar[str] = "dialogue"
    window: int = Field(512, ge=2)

    def encode(self, codec: Codec, media: Sequence[Any]) -> list[Tensor]:
        """See `marked`."""
        return marked(codec, media)

    def space(self, space: Space) -> Space:
        """The codec's, one window long. Raises `UsageError` for items that are no text."""
        if space.vocab is None or len(space.dims) != 1 or space.channels != 1:
            raise UsageError(f"{self.kind} reads conversations in text; choose a codec of text, e.g. codecs.bpe")
        return replace(space, dims=(self.window,))

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Conversations in a new order each epoch. Raises `UsageError` if there is none."""
        return Dialogue(cache, codec, self._good(cache), seed, batch)

    def samples(self, cache: Cache) -> int:
        """Rows."""
        return len(self._good(cache))

    def judged(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Conversations alone."""
        return batched(cache, codec, self._good(cache), batch)

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Conversations by what is said in them, other texts as they are."""
        pieces = stretches(cache, self.window, WORSE, 0)
        return batched(cache, codec, pieces, batch)

    def _good(self, cache: Cache) -> list[Piece]:
        pieces = stretches(cache, self.window, WORSE | PLAIN, 0)
        if not pieces:
            raise UsageError(
                "the data has no conversation to learn to answer from; collect a table with messages, or with columns "
                "such as prompt and completion"
            )
        return pieces


def batched(cache: Cache, codec: Codec, pieces: Sequence[Piece], batch: int) -> Iterator[Batch]:
    """All pieces in order."""
    for start in range(0, len(pieces), batch):
        yield stacked(cache, codec, pieces[start : start + batch])


@final
@dataclass(frozen=True)
class Dialogue(Source):
    """A function of (seed, step)."""

    cache: Cache
    codec: Codec
    pieces: Sequence[Piece]
    seed: int
    size: int

    def batch(self, step: int) -> Batch:
        """[size, 1, T], T as long as the longest row needs."""
        some = order(self.seed, step * self.size, self.size, len(self.pieces))
        return stacked(self.cache, self.codec, [self.pieces[i] for _, i in some])
