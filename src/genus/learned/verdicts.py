"""Answers that were judged good or bad, each by itself, with what a frozen earlier model says of them.

A conversation that goes as it should ends with a good answer, one that should not have (`genus.dialogue`: rejected)
with a bad one; a pair gives one of either. Beside each stands the question with another row's answer, by which an
objective may tell how far the model has gone from the earlier one on the whole. Only the last answer counts. Of what is
longer than the window the end is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, Self, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Codec, Source, Space
from genus.data.cache import Cache
from genus.data.dialogue import PLAIN, STEP, WORSE, DialogueConfig, Piece, stacked
from genus.data.source import SourceConfig
from genus.errors import UsageError
from genus.learned.borrowed import lent, told
from genus.learned.preferences import Shuffled, frozen, last

Verdict = tuple[Piece, bool]


@final
class VerdictsConfig(SourceConfig):
    """phase: whose model is the reference. window: cells of a row at most."""

    kind: Literal["learned.verdicts"] = "learned.verdicts"
    reading: ClassVar[str] = DialogueConfig.reading
    phase: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    window: int = Field(512, ge=2)
    place: str | None = None

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        return self.but(place=told(self.kind, self.phase, earlier))

    def encode(self, codec: Codec, media: Sequence[str]) -> list[Tensor]:
        """As `data.dialogue` does."""
        return DialogueConfig().encode(codec, media)

    def space(self, space: Space) -> Space:
        """The codec's, one window long."""
        return DialogueConfig(window=self.window).space(space)

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Answers in a new order each epoch. Raises `UsageError` if there are not both kinds."""
        return Shuffled(partial(self.picked, cache, codec), self._verdicts(cache), seed, batch)

    def samples(self, cache: Cache) -> int:
        """Answers."""
        return len(self._verdicts(cache))

    def judged(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Held-out answers, whatever kinds there are."""
        found = verdicts(cache, self.window)
        for start in range(0, len(found), batch):
            yield self.picked(cache, codec, found[start : start + batch])

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Conversations by what is said in them, other texts as they are."""
        return DialogueConfig(window=self.window).once(cache, codec, batch)

    def picked(self, cache: Cache, codec: Codec, some: Sequence[Verdict]) -> Batch:
        """x [B, 1, T], mask: the answer. extra: good [B] 1 or 0; other, other_said [B, 1, T], the question with the
        answer of the row before; reference, other_reference [B], the earlier model's log p of either answer.
        """
        assert self.place is not None, "verdicts are told where the reference lies"
        pieces, good = [piece for piece, _ in some], torch.tensor([float(fine) for _, fine in some])
        own = stacked(cache, codec, pieces)
        other = crossed(cache, codec, pieces, self.window)
        assert other.mask is not None
        model = lent(self.place)[0]
        extra = {
            "good": good,
            "other": other.x,
            "other_said": other.mask,
            "reference": frozen(model, own),
            "other_reference": frozen(model, other),
        }
        return Batch(own.x, mask=own.mask, extra=extra, ids=own.ids)

    def _verdicts(self, cache: Cache) -> list[Verdict]:
        found = verdicts(cache, self.window)
        if len({fine for _, fine in found}) < 2:
            raise UsageError(
                "the data has no answers both good and bad; collect a table with columns such as prompt, completion "
                "and label"
            )
        return found


def verdicts(cache: Cache, window: int) -> list[Verdict]:
    """The last answer of each conversation as it should have gone, and as it should not; true: good."""
    marks = np.asarray(cache.cells[:, 1])
    found = []
    for item in range(len(cache)):
        start, stop = int(cache.starts[item]), int(cache.starts[item + 1])
        mine = marks[start:stop]
        if not len(mine) or mine[0] & PLAIN:
            continue
        middle = start + int((mine & WORSE == 0).sum())
        for ends, fine in (((start, middle), True), ((middle, stop), False)):
            if ends[0] < ends[1]:
                found.append((last(marks, item, *ends, window), fine))
    return found


def crossed(cache: Cache, codec: Codec, pieces: Sequence[Piece], window: int) -> Batch:
    """The question of each row with the answer of the row before (of the last, for the first); mask: the answer."""
    rows = []
    for piece, other in zip(pieces, (*pieces[-1:], *pieces[:-1]), strict=True):
        asked, answer = cache.cut(piece.start, piece.counts)[:1], cache.cut(other.counts, other.stop)[:1]
        rows.append((torch.cat([asked, answer], 1)[:, -window:], answer.shape[1]))
    length = -(-max(row.shape[1] for row, _ in rows) // STEP) * STEP
    x, mask = [], []
    for row, said in rows:
        x.append(torch.nn.functional.pad(row, (0, length - row.shape[1])))
        cells = torch.arange(length)
        mask.append(((cells >= row.shape[1] - said) & (cells < row.shape[1]))[None])
    return Batch(codec.lift(torch.stack(x)), mask=torch.stack(mask))
