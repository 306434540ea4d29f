"""What a caption brings to mind: training items whose captions share its rarest words, laid beside x.

Retrieval-augmented diffusion (Blattmann et al. 2022, arXiv 2204.11824; Chen et al. 2022, arXiv 2209.14491) for small
data: where each name occurs once, what a word looks like is better looked up than learned by heart. Items are found by
words, so no model that learned elsewhere is needed, and what is found can be shown. An item never finds itself, nor
others of its own caption: what is asked for is new to what is found, in training as in sampling. The items are kept
with the weights.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor

from genus.conditions.text import first
from genus.core import Batch, Cond, Conditioner, ConditionerConfig, Noise, Space
from genus.errors import UsageError
from genus.parts import Any_


def words(text: str) -> frozenset[str]:
    """Runs of letters and digits, in small letters."""
    return frozenset(re.findall(r"[^\W_]+", text.lower()))


@final
class Index:
    """Texts that are found by the words they share: the cosine of bags of words, each weighed by how rare it is."""

    def __init__(self, texts: Sequence[str]) -> None:
        bags = [words(text) for text in texts]
        counts = Counter(word for bag in bags for word in bag)
        self.place = {text: i for i, text in enumerate(texts)}
        self.weights = {word: math.log(1 + len(texts) / n) ** 2 for word, n in counts.items()}
        self.rare = math.log(1 + len(texts)) ** 2  # of a word that no text has
        self.norms = [self._norm(bag) for bag in bags]
        self.holding: dict[str, list[int]] = {}
        for i, bag in enumerate(bags):
            for word in bag:
                self.holding.setdefault(word, []).append(i)

    def _norm(self, bag: frozenset[str]) -> float:
        return math.sqrt(sum(self.weights.get(word, self.rare) for word in bag)) or 1.0

    def nearest(self, text: str, most: int) -> list[tuple[int, float]]:
        """(place, cosine) of the nearest texts that share a word and are not the same; the first of equals first."""
        bag = words(text)
        found: dict[int, float] = {}
        for word in sorted(bag):
            for i in self.holding.get(word, ()):
                found[i] = found.get(i, 0.0) + self.weights[word]
        found.pop(self.place.get(text, -1), None)
        norm = self._norm(bag)
        scores = [(i, score / norm / self.norms[i]) for i, score in found.items()]
        return sorted(scores, key=lambda one: (-one[1], one[0]))[:most]


@final
class Neighbours(Conditioner):
    """The fields of the conditioner inside -> its Cond, and on the grid [B, count x (C + 1), *dims].

    Each neighbour is its x [C, *dims] and a channel that says how near its caption is, 0 .. 1; zeros where fewer were
    found. Dropped with what is inside.
    """

    bank: Tensor

    def __init__(self, config: NeighboursConfig, space: Space) -> None:
        super().__init__()
        self.inside, self.reads, self.count = config.inside.build(space), config.inside.reads, config.count
        self.dropout = self.inside.dropout
        if space.vocab is not None or self.inside.roads.grid is not None:
            what = f"x of {space}" if space.vocab is not None else f"{config.inside.kind}, which gives a grid itself"
            raise UsageError(f"{config.kind} lays items of numbers beside x and cannot do so for {what}")
        captions = config.captions or ()
        self.index = Index(captions)
        self.nearest = lru_cache(maxsize=1 << 16)(self.index.nearest)
        self.roads = self.inside.roads
        if captions:
            self.roads = replace(self.roads, grid=self.count * (space.channels + 1))
            self.register_buffer("bank", torch.zeros(len(captions), space.channels, *space.dims))

    def keep(self, items: Iterator[Batch]) -> None:
        """The first item of each caption that the configuration names."""
        if self.roads.grid is None:
            return
        missing = set(self.index.place)
        for batch in items:
            columns = [batch.fields[name] for name in self.reads if name in batch.fields]
            for x, values in zip(batch.x, zip(*columns, strict=True), strict=True):
                text = first(values)
                if text is not None and text in missing:
                    missing.remove(text)
                    self.bank[self.index.place[text]] = x
            if not missing:
                return

    def forward(self, fields: Mapping[str, Sequence[Any]], noise: Noise | None = None) -> Cond:
        """See the class; a text that is missing or dropped brings nothing to mind."""
        cond: Cond = self.inside(fields, noise)
        if self.roads.grid is None:
            return cond
        columns = [fields[name] for name in self.reads if name in fields]
        grid = self.beside([first(values) for values in zip(*columns, strict=True)])
        kept = self.kept(noise)
        if kept is not None:
            grid = grid * kept.to(grid.device).view(-1, *(1,) * (grid.dim() - 1))
        return replace(cond, grid=grid)

    def found(self, text: str | None) -> list[tuple[int, float]]:
        """(place in the bank, nearness) of a text's neighbours, the nearest first."""
        return [] if text is None else self.nearest(text, self.count)

    def beside(self, texts: Sequence[str | None]) -> Tensor:
        """The grid of texts; of None zeros."""
        grid = self.bank.new_zeros(len(texts), self.count, self.bank.shape[1] + 1, *self.bank.shape[2:])
        for row, text in zip(grid, texts, strict=True):
            for slot, (place, near) in zip(row, self.found(text), strict=False):
                slot[:-1], slot[-1] = self.bank[place], near
        return grid.flatten(1, 2)

    def null(self, batch: int) -> Cond:
        """What is inside says nothing, and nothing comes to mind."""
        cond = self.inside.null(batch)
        return cond if self.roads.grid is None else replace(cond, grid=self.beside([None] * batch))

    def draw(self, noise: Noise, asked: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """As what is inside does."""
        return self.inside.draw(noise, asked)


@final
class NeighboursConfig(ConditionerConfig):
    """inside: what reads the text itself. count: neighbours of a text. most: items that are kept to be found.

    captions: of the items kept; found in the data, empty where fewer than two are.
    """

    kind: Literal["conditions.neighbours"] = "conditions.neighbours"
    inside: Any_[ConditionerConfig]
    count: int = Field(4, ge=1)
    most: int = Field(8192, ge=2)
    captions: tuple[str, ...] | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields that the conditioner inside reads."""
        return self.inside.reads

    def fit(self, fields: Callable[[], Iterator[Mapping[str, Any]]]) -> Self:
        """The conditioner inside is, and the captions are chosen."""
        if self.captions is not None:
            return self
        said = {first([f.get(name) for name in self.reads]) for f in fields()} - {None}
        some = sorted(said, key=lambda text: blake2b(str(text).encode(errors="replace")).digest())[: self.most]
        captions = tuple(sorted(map(str, some))) if len(said) > 1 else ()
        return self.but(inside=self.inside.fit(fields), captions=captions)

    def admit(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """As the conditioner inside does."""
        return self.inside.admit(fields)

    def sized(self, dial: int) -> Self:
        """With the conditioner inside at its size."""
        return self.but(inside=self.inside.sized(dial))

    def build(self, space: Space) -> Neighbours:
        """The module, with no items yet: `keep` is given them."""
        return Neighbours(self, space)
