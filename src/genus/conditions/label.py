"""A class label as a learned vector. Unlabelled data gives no road at all, so one recipe serves both."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor, nn

from genus.core import Cond, Conditioner, ConditionerConfig, Noise, Roads, Space
from genus.errors import UsageError


@final
class Label(Conditioner):
    """fields[name] -> Cond(vector=[B, width]); one more row is the null."""

    def __init__(self, config: LabelConfig) -> None:
        super().__init__()
        self.field, self.dropout = config.field, config.dropout
        self.index = {label: i for i, (label, _) in enumerate(config.labels or ())}
        self.counts = list(accumulate(n for _, n in config.labels or ()))
        self.roads = Roads(vector=config.width if self.index else None)
        if self.index:
            self.embedding = nn.Embedding(len(self.index) + 1, config.width)
            nn.init.normal_(self.embedding.weight, std=config.width**-0.5)

    def forward(self, fields: Mapping[str, Sequence[Any]], noise: Noise | None = None) -> Cond:
        """Vectors [B, width]; a missing label (None) or one that is dropped is the null."""
        if not self.index:
            return Cond()
        ids, kept = self.chosen(fields), self.kept(noise)
        ids = torch.where(ids < 0, len(self.index), ids)
        if kept is not None:
            ids = torch.where(kept.to(ids.device), ids, len(self.index))
        return Cond(vector=self.embedding(ids))

    def chosen(self, fields: Mapping[str, Sequence[Any]]) -> Tensor:
        """[B] long: places among the known labels, -1 for None. Raises `UsageError` for one that is not known."""
        if self.field not in fields:
            raise UsageError(f"this model is asked by {self.field!r}; given: {', '.join(fields) or 'nothing'}")
        ids = [-1 if label is None else self._id(str(label)) for label in fields[self.field]]
        return torch.tensor(ids, device=self.embedding.weight.device)

    def every(self) -> Cond:
        """Vectors [K, width] of the known labels."""
        return Cond(vector=self.embedding.weight[:-1])

    def _id(self, label: str) -> int:
        if label not in self.index:
            known = ", ".join(list(self.index)[:20]) + (", ..." if len(self.index) > 20 else "")
            raise UsageError(f"{label!r} is not a {self.field} of the training data; it has: {known}")
        return self.index[label]

    def null(self, batch: int) -> Cond:
        """The last row, `batch` times."""
        if not self.index:
            return Cond()
        ids = torch.full((batch,), len(self.index), device=self.embedding.weight.device)
        return Cond(vector=self.embedding(ids))

    def draw(self, noise: Noise, asked: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Labels as often as in the training data, where nothing was asked."""
        if not self.index or asked:
            return dict(asked)
        names = list(self.index)
        at = (noise.uniform(0) * self.counts[-1]).tolist()
        return {self.field: [names[bisect(self.counts, u)] for u in at]}


@final
class LabelConfig(ConditionerConfig):
    """field: of the record. labels: (label, times seen), found in the data; fewer than 2 or more than `most`: none."""

    kind: Literal["conditions.label"] = "conditions.label"
    field: str = "label"
    width: int = Field(128, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    most: int = Field(1000, ge=0)
    labels: tuple[tuple[str, int], ...] | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The one field."""
        return (self.field,)

    def fit(self, fields: Callable[[], Iterator[Mapping[str, Any]]]) -> Self:
        """Count the labels of the training records."""
        if self.labels is not None:
            return self
        counts = Counter(str(f[self.field]) for f in fields() if f.get(self.field) is not None)
        usable = 2 <= len(counts) <= self.most
        return self.but(labels=tuple(sorted(counts.items())) if usable else ())

    def admit(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """An unseen label becomes None. Without labels at all, none is read."""
        seen = {label for label, _ in self.labels or ()}
        said = fields.get(self.field)
        return dict(fields) if not seen or said is None or str(said) in seen else {**fields, self.field: None}

    def build(self, space: Space) -> Label:
        """The module, its weights at their start."""
        return Label(self)
