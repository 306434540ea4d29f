"""What a caption brings to mind: training items whose captions share its rarest words, laid beside x.

Retrieval-augmented diffusion (Blattmann et al. 2022, arXiv 2204.11824; Chen et al. 2022, arXiv 2209.14491) for small
data: where each name occurs once, what a word looks like is better looked up than learned by heart. Items are found by
words, so no model that learned elsewhere is needed, and what is found can be shown. An item never finds itself, nor
others of its own caption: what is asked for is new to what is found. The items are kept with the weights.

Beside each lies how alike it is to x. In training that is known, so in sampling it can be asked: `likeness`. Few items
look like those that share their words, so of what is found first some are made from x itself, a part of it overlaid by
another's (Yun et al. 2019, arXiv 1905.04899): by these the network learns to keep what is said to be alike and to draw
the rest anew, which is to retrieve and edit (Hashimoto et al. 2018, arXiv 1812.01194).
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
        return math.sqrt(sum(self.weights.get(word, self.rare) for word in sorted(bag))) or 1.0

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

    Each neighbour is its x [C, *dims] and a channel that says how alike it is: the cosine of both, each less the mean
    of the items. Zeros where fewer were found. Dropped with what is inside. In training the cosines are those of the
    item itself; else those that are usual, but for the first one's where a likeness is asked.
    """

    knob = "likeness"
    bank: Tensor

    def __init__(self, config: NeighboursConfig, space: Space) -> None:
        super().__init__()
        self.inside, self.reads, self.count = config.inside.build(space), config.inside.reads, config.count
        self.dropout, self.patched, self.likeness = self.inside.dropout, config.patched, config.likeness
        self.looks: Looks | None = None
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
        missing, self.looks = set(self.index.place), None
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
        texts = [first(values) for values in zip(*columns, strict=True)]
        grid = self.beside(texts, fields.get(self.knob)) if noise is None else self.taught(texts, noise)
        kept = self.kept(noise)
        if kept is not None:
            grid = grid * kept.to(grid.device).view(-1, *(1,) * (grid.dim() - 1))
        return replace(cond, grid=grid)

    def found(self, text: str | None) -> list[tuple[int, float]]:
        """(place in the bank, nearness) of a text's neighbours, the nearest first."""
        return [] if text is None else self.nearest(text, self.count)

    def looked(self) -> Looks:
        """What the items look like, worked out when first asked for."""
        if self.looks is None or self.looks.mean.device != self.bank.device:
            mean = self.bank.mean(0)
            looks = Looks(mean, _unit((self.bank - mean).flatten(1)), ())
            alike = [
                [looks.alike(self.bank[i], at) for at, _ in self.found(text)] for text, i in self.index.place.items()
            ]
            slots = [[row[slot] for row in alike if len(row) > slot] for slot in range(self.count)]
            usual = tuple(statistics.median(slot) if slot else 0.0 for slot in slots)
            self.looks = replace(looks, usual=usual)
        return self.looks

    def beside(self, texts: Sequence[str | None], likeness: Sequence[float] | None = None) -> Tensor:
        """The grid of texts; of None zeros. likeness: of each text's first neighbour to what is to be drawn."""
        grid, usual = self.bare(len(texts)), self.looked().usual
        for i, (row, text) in enumerate(zip(grid, texts, strict=True)):
            for slot, (at, _) in enumerate(self.found(text)):
                asked = usual[slot] if likeness is None or slot else likeness[i]
                row[slot, :-1], row[slot, -1] = self.bank[at], asked
        return grid.flatten(1, 2)

    def taught(self, texts: Sequence[str | None], noise: Noise) -> Tensor:
        """The grid of training items, which are known by their texts; of others as `beside` has it."""
        grid, looks = self.beside(texts), self.looked()
        grid = grid.view(len(texts), self.count, -1, *grid.shape[2:])
        dice = noise.child("neighbours").uniform(0, (3 + self.bank.dim() - 2,)).tolist()
        for row, text, die in zip(grid, texts, dice, strict=True):
            own = None if text is None else self.index.place.get(text)
            if own is None:
                continue
            found = [at for at, _ in self.found(text)]
            for slot, at in enumerate(found):
                row[slot, -1] = looks.alike(self.bank[at], own)
            if die[0] < self.patched:
                others = found or range(len(self.bank))
                part = overlaid(self.bank[own], self.bank[others[int(die[1] * len(others))]], die[2], die[3:])
                row[0, :-1], row[0, -1] = part, looks.alike(part, own)
        return grid.flatten(1, 2)

    def bare(self, batch: int) -> Tensor:
        """[batch, count, C + 1, *dims] of zeros."""
        return self.bank.new_zeros(batch, self.count, self.bank.shape[1] + 1, *self.bank.shape[2:])

    def null(self, batch: int) -> Cond:
        """What is inside says nothing, and nothing comes to mind."""
        cond = self.inside.null(batch)
        return cond if self.roads.grid is None else replace(cond, grid=self.bare(batch).flatten(1, 2))

    def draw(self, noise: Noise, asked: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """As what is inside does; the likeness is the configuration's unless it was asked."""
        said: dict[str, Sequence[Any]] = self.inside.draw(noise, {k: v for k, v in asked.items() if k != self.knob})
        if self.roads.grid is None or not said:
            return said
        strange = [value for value in asked.get(self.knob, ()) if not 0 <= value <= 1]
        if strange:
            raise UsageError(f"{self.knob} = {strange[0]}: choose a number from 0 to 1")
        return {**said, self.knob: asked.get(self.knob, [self.likeness] * len(noise))}


@final
@dataclass(frozen=True)
class Looks:
    """Of the items: their mean, what they are beyond it as unit vectors, and how alike slot by slot they usually are
    to what they bring to mind.
    """

    mean: Tensor
    units: Tensor
    usual: tuple[float, ...]

    def alike(self, x: Tensor, item: int) -> float:
        """The cosine of x and an item, each less the mean."""
        return float(_unit((x - self.mean).flatten()) @ self.units[item])


def _unit(x: Tensor) -> Tensor:
    unit: Tensor = x / x.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return unit


def overlaid(x: Tensor, other: Tensor, share: float, where: Sequence[float]) -> Tensor:
    """x [C, *dims] with a box of the other's in it: 0.9 x share of its cells, placed by a number 0 .. 1 an axis."""
    box: list[slice] = [slice(None)]
    for size, start in zip(x.shape[1:], where, strict=True):
        side = max(1, round(size * (0.9 * share) ** (1 / len(where))))
        begin = int(start * (size - side + 1))
        box.append(slice(begin, begin + side))
    made = x.clone()
    made[tuple(box)] = other[tuple(box)]
    return made


@final
class NeighboursConfig(ConditionerConfig):
    """inside: what reads the text itself. count: neighbours of a text. most: items that are kept to be found.

    patched: share of training items whose first neighbour is made from themselves. likeness: of the first neighbour to
    what is drawn, unless another is asked: the greater, the more of it is kept. captions: of the items kept; found in
    the data, empty where fewer than two are.
    """

    kind: Literal["conditions.neighbours"] = "conditions.neighbours"
    inside: Any_[ConditionerConfig]
    count: int = Field(4, ge=1)
    most: int = Field(8192, ge=2)
    patched: float = Field(0.6, ge=0, le=1)
    likeness: float = Field(0.7, ge=0, le=1)
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
