"""Classifier-free guidance: away from the unconditional prediction, p = null + scale (conditional - null).

Ho and Salimans 2022 (arXiv 2207.12598); in an interval of times: Kynkäänniemi et al. 2024 (arXiv 2404.07724).
For clean x and for logits alike. Condition and null run as one doubled batch, so there is one state. Knows no family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Cond, Predictor, State, Wrap


@final
class Guidance(Wrap):
    """scale: 1 is none. start, stop: the times between which it acts, where there is a time."""

    knob: ClassVar[tuple[str, str] | None] = ("guidance", "scale")

    kind: Literal["samplers.guidance"] = "samplers.guidance"
    scale: float = Field(1.5, ge=0)
    start: float = Field(0.0, ge=0, le=1)
    stop: float = Field(1.0, ge=0, le=1)

    def __call__(
        self,
        predict: Predictor,
        null: Callable[[int], Cond] | None,
        fields: Mapping[str, Sequence[Any]] | None = None,
    ) -> Predictor:
        """The guided predictor; `predict` itself where there is nothing to guide by."""
        if self.scale == 1 or null is None or null(1).empty:
            return predict
        return Guided(self, predict, null)


@final
@dataclass(frozen=True)
class Guided:
    """Condition first, null second, in one batch of twice the size."""

    guidance: Guidance
    predict: Predictor
    null: Callable[[int], Cond]

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """As `predict`, guided where t lies in the interval."""
        guide, batch = self.guidance, x.shape[0]
        scale = torch.full((batch,), guide.scale)
        if t is not None:
            scale = torch.where((t >= guide.start) & (t <= guide.stop), scale, 1.0)
            if state is None and bool((scale == 1).all()):
                return self.predict(x, t, cond)
        both = state.both if isinstance(state, Pairs) else None
        if both is not None and state is not None:
            both.wanted = state.wanted
        doubled = self.predict(
            torch.cat([x, x]), None if t is None else torch.cat([t, t]), cond.join(self.null(batch)), both
        )
        asked, free = doubled.chunk(2)
        return free + scale.view(-1, *(1,) * (free.dim() - 1)).to(free) * (asked - free)

    def start(self, batch: int, cells: int) -> State | None:
        """A state for the doubled batch."""
        both = self.predict.start(2 * batch, cells)
        return None if both is None else Pairs(both)


@final
class Pairs(State):
    """Rows of a doubled batch, two a sample: those of the condition first, then those of the null."""

    def __init__(self, both: State) -> None:
        self.both = both

    def __len__(self) -> int:
        return len(self.both) // 2

    @property
    def size(self) -> int:
        """See `State`."""
        return self.both.size

    def rewind(self, cells: Sequence[int]) -> None:
        """See `State`."""
        self.both.rewind([*cells, *cells])

    def take(self, rows: Sequence[int]) -> Pairs:
        """See `State`."""
        return Pairs(self.both.take([*rows, *(row + len(self) for row in rows)]))

    def join(self, other: State) -> Pairs:
        """See `State`."""
        assert isinstance(other, Pairs), "rows of one predictor"
        a, b = len(self), len(other)
        first, second = range(a), range(2 * a, 2 * a + b)
        order = [*first, *second, *(row + a for row in first), *(row + b for row in second)]
        return Pairs(self.both.join(other.both).take(order))
