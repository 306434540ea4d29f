"""Batches of another source, with what a frozen earlier model says of each cell: what a student learns from.

Its logits go along in `Batch.extra`, [B, C, T, V] of 16 bits: for large vocabularies take few samples a step. Held-out
batches go without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Codec, Model, Network, Source, Space, next_logits
from genus.data.cache import Cache
from genus.data.packed import PackedConfig
from genus.data.source import SourceConfig
from genus.errors import UsageError
from genus.learned.borrowed import lent, told
from genus.parts import Any_


@final
@dataclass(frozen=True)
class Taught(Source):
    """A function of (seed, step), as `of` is."""

    source: Source
    place: str

    def batch(self, step: int) -> Batch:
        """As that of the source; extra: teacher [B, C, T, V]."""
        batch = self.source.batch(step)
        return replace(batch, extra={**batch.extra, "teacher": logits(lent(self.place)[0], batch)})


@final
class TaughtConfig(SourceConfig):
    """phase: whose model is the teacher. inside: the source of the batches."""

    kind: Literal["learned.taught"] = "learned.taught"
    phase: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    inside: Any_[SourceConfig] = PackedConfig()
    place: str | None = None

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        return self.but(place=told(self.kind, self.phase, earlier), inside=self.inside.after(earlier))

    @property
    def teacher(self) -> str | None:
        """See `SourceConfig`."""
        return self.phase

    def encode(self, codec: Codec, media: Sequence[Any]) -> list[Tensor]:
        """As the source inside does."""
        return self.inside.encode(codec, media)

    def space(self, space: Space) -> Space:
        """That of the source inside."""
        return self.inside.space(space)

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Raises `UsageError` if the teacher reads other ids, or shorter windows."""
        if self.place is None:
            raise UsageError(f"{self.kind} was not told where the model of phase {self.phase!r} lies")
        there, room = lent(self.place)[0].space, self.space(codec.space)
        if there.vocab != room.vocab or there.dims[0] < room.dims[0]:
            raise UsageError(
                f"the teacher reads windows of {there.dims[0]} and knows {there.vocab} ids, the student {room.dims[0]} "
                f"and {room.vocab}; take its codec (learned.same) and windows no longer than its own"
            )
        return Taught(self.inside.over(cache, codec, seed, batch), self.place)

    def samples(self, cache: Cache) -> int:
        """Those of the source inside."""
        return self.inside.samples(cache)

    def judged(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Those of the source inside."""
        return self.inside.judged(cache, codec, batch)

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Those of the source inside."""
        return self.inside.once(cache, codec, batch)


def logits(model: Model, batch: Batch) -> Tensor:
    """What a model says of each cell given those before it, [B, C, T, V], bfloat16, less the largest of each."""
    net = model.drawing(model.precision)["net"]
    assert isinstance(net, Network)
    with torch.no_grad():
        said = next_logits(net, batch).float()
        return (said - said.amax(-1, keepdim=True)).bfloat16()
