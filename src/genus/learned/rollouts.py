"""What an earlier phase's model draws, as the data of this one: pairs of a noise and the sample it became.

With `objectives.flow` this is reflow: paths between such pairs hardly cross, so a model of them is drawn in very few
steps (Liu et al. 2022, arXiv 2209.03003). The pairs are drawn once, in order, into the earlier phase's folder; a noise
is not stored, because its address is enough.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from genus import files
from genus.core import Batch, Codec, Noise, Source, Space
from genus.data.cache import Cache
from genus.data.source import SourceConfig, order
from genus.data.stacked import StackedConfig
from genus.errors import UsageError
from genus.learned.borrowed import lent, told

KEY = Noise(0).child("rollouts").key
PIECE = 64  # samples drawn together


@final
@dataclass(frozen=True)
class Pairs(Source):
    """Samples first .. first + number of the rollouts, in a new order each epoch; `extra` holds the noise as e."""

    x: Tensor
    fields: Mapping[str, list[Any]]
    first: int
    number: int
    seed: int
    size: int

    def batch(self, step: int) -> Batch:
        """[size, C, *dims]."""
        return self.picked([self.first + i for _, i in order(self.seed, step * self.size, self.size, self.number)])

    def picked(self, at: list[int]) -> Batch:
        """These rollouts."""
        e = Noise(KEY, tuple(at)).normal(0, self.x.shape[1:])
        fields = {name: [column[i] for i in at] for name, column in self.fields.items()}
        return Batch(self.x[at].float(), fields=fields, extra={"e": e}, ids=[str(i) for i in at])


@final
class RolloutsConfig(SourceConfig):
    """phase: whose model draws. number: pairs to train on; held: further ones to judge by. knobs: of its sampler."""

    kind: Literal["learned.rollouts"] = "learned.rollouts"
    phase: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    number: int = Field(4096, ge=1)
    held: int = Field(256, ge=1)
    knobs: dict[str, Any] = Field(default_factory=dict)
    place: str | None = None

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        return self.but(place=told(self.kind, self.phase, earlier))

    def space(self, space: Space) -> Space:
        """The codec's own."""
        return space

    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Pairs, whatever the cache holds."""
        x, fields = self._drawn
        return Pairs(x, fields, 0, self.number, seed, batch)

    def judged(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Pairs that no step trains on."""
        x, fields = self._drawn
        pairs = Pairs(x, fields, self.number, self.held, 0, batch)
        for start in range(self.number, self.number + self.held, batch):
            yield pairs.picked(list(range(start, min(start + batch, self.number + self.held))))

    def samples(self, cache: Cache) -> int:
        """Pairs."""
        return self.number

    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Real items in order: what the model is scored on."""
        return StackedConfig().once(cache, codec, batch)

    @cached_property
    def _drawn(self) -> tuple[Tensor, dict[str, list[Any]]]:
        assert self.place is not None, "rollouts are told where the model lies that draws them"
        model, _ = lent(self.place)
        if model.conditioner is not None and model.conditioner.sees is not None:
            raise UsageError(
                f"{self.kind}: phase {self.phase!r} draws from an earlier drawing, which pairs do not hold"
            )
        said = json.dumps({"number": self.number + self.held, "knobs": self.knobs}, sort_keys=True)
        path = Path(self.place) / "rollouts.safetensors"
        if not path.is_file() or _told(path).get("said") != said:
            total, rows = self.number + self.held, []
            fields: dict[str, list[Any]] = {}
            for start in range(0, total, PIECE):
                noise = Noise(KEY, tuple(range(start, min(start + PIECE, total))))
                drawn = model.conditioner.draw(noise.child("condition"), {}) if model.conditioner is not None else {}
                for name, column in drawn.items():
                    fields.setdefault(name, []).extend(column)
                *_, x = model.stream(noise, drawn, **self.knobs)
                rows.append(x.half())
            whole, told = {"x": torch.cat(rows)}, {"said": said, "fields": json.dumps(fields)}
            files.replace(path, lambda part: save_file(whole, part, told))
        with safe_open(path, "pt") as opened:
            return opened.get_tensor("x"), json.loads(_told(path)["fields"])


def _told(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as opened:
        return dict(opened.metadata() or {})
