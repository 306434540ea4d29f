"""Pairs of answers, the better and the worse, with what a frozen earlier model says of both.

A pair is a conversation whose last answer was preferred to another (`genus.dialogue`: assistant, rejected). The
earlier model's log-probabilities go along in `Batch.extra`, so an objective that compares with it holds no second one.
Only the last answer counts. Of what is longer than the window the end is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Generic, Literal, Self, TypeVar, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from genus.core import Batch, Codec, Model, Noise, Source, Space
from genus.data.cache import Cache
from genus.data.dialogue import PLAIN, SAID, WORSE, DialogueConfig, Piece, stacked
from genus.data.source import SourceConfig, order
from genus.errors import UsageError
from genus.learned.borrowed import lent, told

Pair = tuple[Piece, Piece]
T = TypeVar("T")


@final
@dataclass(frozen=True)
class Shuffled(Source, Generic[T]):
    """Some things of a list at a time, in a new order each epoch: a function of (seed, step). picked: their batch."""

    picked: Callable[[Sequence[T]], Batch]
    things: Sequence[T]
    seed: int
    size: int

    def batch(self, step: int) -> Batch:
        """`size` of them."""
        some = order(self.seed, step * self.size, self.size, len(self.things))
        return self.picked([self.things[i] for _, i in some])


@final
class PreferencesConfig(SourceConfig):
    """phase: whose model is the reference; None: there is none. window: cells of a row at most."""

    kind: Literal["learned.preferences"] = "learned.preferences"
    reading: ClassVar[str] = DialogueConfig.reading
    phase: str | None = Field(None, pattern=r"^[a-z][a-z0-9-]*$")
    window: int = Field(512, ge=2)
    place: str | None = None

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        return self if self.phase is None else self.but(place=told(self.kind, self.phase, earlier))

    def encode(self, codec: Codec, media: Sequence[str]) -> list[Tensor]:
        """As `data.dialogue` does."""
        return DialogueConfig().encode(codec, media)

    def space(self, space: Space) -> Space:
        """The codec's, one window long."""
        return DialogueConfig(window=self.window).space(space)

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Pairs in a new order each epoch. Raises `UsageError` if there is none."""
        return Shuffled(partial(self.picked, cache, codec), self._pairs(cache), seed, batch)

    def samples(self, cache: Cache) -> int:
        """Pairs."""
        return len(self._pairs(cache))

    def judged(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Held-out pairs."""
        pairs = self._pairs(cache)
        for start in range(0, len(pairs), batch):
            yield self.picked(cache, codec, pairs[start : start + batch])

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Conversations by what is said in them, other texts as they are."""
        return DialogueConfig(window=self.window).once(cache, codec, batch)

    def picked(self, cache: Cache, codec: Codec, pairs: Sequence[Pair]) -> Batch:
        """x [B, 1, T] the better; extra: said, rejected, rejected_said [B, 1, T]; reference [B, 2], log p of either."""
        both = stacked(cache, codec, [*(good for good, _ in pairs), *(bad for _, bad in pairs)])
        assert both.mask is not None
        n = len(pairs)
        extra = {"said": both.mask[:n], "rejected": both.x[n:], "rejected_said": both.mask[n:]}
        if self.place is not None:
            nats = frozen(lent(self.place)[0], both)
            extra["reference"] = torch.stack([nats[:n], nats[n:]], dim=1)
        return Batch(both.x[:n], extra=extra, ids=both.ids[:n])

    def _pairs(self, cache: Cache) -> list[Pair]:
        pairs = paired(cache, self.window)
        if not pairs:
            raise UsageError(
                "the data has no answers to choose between; collect a table with columns such as prompt, chosen and "
                "rejected"
            )
        return pairs


def log_probs(model: Model, batch: Batch, nets: nn.ModuleDict | None = None) -> Tensor:
    """log p [B] of the cells that count, float32. nets: which of the model's copies say it; None: its own."""
    with torch.no_grad():
        return model.objective.log_prob(
            model.nets if nets is None else nets, replace(batch, cond=model.condition({}, len(batch))), Noise(0)
        ).nats.float()


def frozen(model: Model, batch: Batch) -> Tensor:
    """The same by a model that is not trained, in the number format of its training: as a start it says what the
    model did that begins there.
    """
    return log_probs(model, batch, model.drawing(model.precision))


def paired(cache: Cache, window: int) -> list[Pair]:
    """Of each item that has both versions: the last answer of either, with what comes before it."""
    marks = np.asarray(cache.cells[:, 1])
    found = []
    for item in range(len(cache)):
        start, stop = int(cache.starts[item]), int(cache.starts[item + 1])
        mine = marks[start:stop]
        if not len(mine) or mine[0] & PLAIN:
            continue
        middle = start + int((mine & WORSE == 0).sum())
        if start < middle < stop:
            good, bad = (last(marks, item, *ends, window) for ends in ((start, middle), (middle, stop)))
            found.append((good, bad))
    return found


def last(
    marks: np.ndarray[tuple[int, ...], np.dtype[np.int32]], item: int, start: int, stop: int, window: int
) -> Piece:
    """Cells start..stop of an item, or the end of them, of which the last answer counts.

    What a template writes behind it is left out: it is read by none of what counts.
    """
    said = (marks[start:stop] & SAID).astype(bool)
    stop = start + int(np.flatnonzero(said)[-1]) + 1 if said.any() else stop
    silent = np.flatnonzero(~said[: stop - start])
    counts = start + (int(silent[-1]) + 1 if len(silent) else 0)
    start = max(start, stop - window)
    return Piece(item, start, max(start, counts), stop)
