"""Batches of another source; with each sample comes a piece of its path from noise to data, as a teacher goes it.

The paths from t = 1 to 0 are cut into pieces of one length. Samples take them in turn: each is noised to where its
piece begins, and the frozen teacher, guided as when it draws, goes to the end. What was found goes along in
`Batch.extra`: t [B], e and target [B, C, *dims]; see `objectives.piecewise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Codec, Cond, Model, Noise, Predictor, Source, Space, along, move
from genus.data.cache import Cache
from genus.data.source import SourceConfig
from genus.data.stacked import StackedConfig
from genus.errors import UsageError
from genus.learned.borrowed import lent, told
from genus.parts import Any_


@final
@dataclass(frozen=True)
class Cut:
    """number: of pieces. looks: the teacher's in each."""

    number: int
    looks: int

    def of(self, samples: Sequence[int]) -> Tensor:
        """[B] long: which piece each sample takes, in turn."""
        return torch.tensor([sample % self.number for sample in samples])

    def times(self, piece: int) -> list[float]:
        """From where it begins to where it ends, looks + 1 of them."""
        return [1 - (piece + i / self.looks) / self.number for i in range(self.looks + 1)]


@final
@dataclass(frozen=True)
class Pieces(Source):
    """A function of (seed, step), as `source` is."""

    source: Source
    place: str
    cut: Cut
    seed: int
    size: int

    def batch(self, step: int) -> Batch:
        """As that of the source; extra: t [B], e and target [B, C, *dims]."""
        noise = Noise(Noise(self.seed).child("pieces").key, tuple(range(step * self.size, (step + 1) * self.size)))
        return led(lent(self.place)[0], self.source.batch(step), noise, self.cut)


@final
class PiecesConfig(SourceConfig):
    """phase: whose model is the teacher. inside: the source of the batches. number: pieces of a path, as many as the
    student's sampler has steps. looks: the teacher's in each.
    """

    kind: Literal["learned.pieces"] = "learned.pieces"
    phase: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    inside: Any_[SourceConfig] = StackedConfig()
    number: int = Field(4, ge=1)
    looks: int = Field(4, ge=1)
    place: str | None = None

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        return self.but(place=told(self.kind, self.phase, earlier), inside=self.inside.after(earlier))

    def encode(self, codec: Codec, media: Sequence[Any]) -> list[Tensor]:
        """As the source inside does."""
        return self.inside.encode(codec, media)

    def space(self, space: Space) -> Space:
        """That of the source inside."""
        return self.inside.space(space)

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Raises `UsageError` if it was not told where its teacher lies."""
        return Pieces(self.inside.over(cache, codec, seed, batch), self._place, self._cut, seed, batch)

    def samples(self, cache: Cache) -> int:
        """Those of the source inside."""
        return self.inside.samples(cache)

    def judged(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Those of the source inside, each sample with one piece, always the same."""
        key, start = Noise(0).child("judged pieces").key, 0
        for one in self.inside.judged(cache, codec, batch):
            yield led(lent(self._place)[0], one, Noise(key, tuple(range(start, start + len(one)))), self._cut)
            start += len(one)

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Those of the source inside."""
        return self.inside.once(cache, codec, batch)

    @property
    def _cut(self) -> Cut:
        return Cut(self.number, self.looks)

    @property
    def _place(self) -> str:
        if self.place is None:
            raise UsageError(f"{self.kind} was not told where the model of phase {self.phase!r} lies")
        return self.place


def led(model: Model, batch: Batch, noise: Noise, cut: Cut) -> Batch:
    """A batch with the pieces that a model leads its samples along."""
    piece, x = cut.of(noise.samples), batch.x.float()
    t, e = 1 - piece.float() / cut.number, noise.normal(0, batch.x.shape[1:])
    begun = (1 - along(t, x)) * x + along(t, x) * e
    target = torch.empty_like(x)
    with torch.no_grad():
        for one in sorted(set(piece.tolist())):
            rows = (piece == one).nonzero()[:, 0]
            fields = {name: [column[i] for i in rows.tolist()] for name, column in batch.fields.items()}
            predict, _ = model.predictor(fields=fields, nets=model.drawing())
            times = cut.times(one)
            end = gone(predict, begun[rows], model.condition(fields, len(rows), batch.x[rows]), times)
            kept = times[-1] / times[0]
            target[rows] = (end - kept * begun[rows]) / (1 - kept)
    return replace(batch, extra={**batch.extra, "t": t, "e": e, "target": target})


def gone(predict: Predictor, x: Tensor, cond: Cond, times: Sequence[float]) -> Tensor:
    """Where x at the first of these falling times is led until the last: a step of second order between each two."""
    before: tuple[float, Tensor] | None = None
    for t, r in pairwise(times):
        p = predict(x, torch.full((len(x),), t), cond).float()
        x = move(x, p, t, r, None if before is None else (p - before[1]) / (t - before[0]))
        before = (t, p)
    return x
