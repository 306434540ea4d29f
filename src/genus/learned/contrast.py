"""What a model would say more than a weaker one: contrastive decoding (Li et al. 2022, arXiv 2210.15097).

    logits = log p + strength (log p - log r)     where p(id) >= keep x the largest p, else none

r is another run with the same ids, smaller or trained for less. Both read the text; what both say anyway, such as
repeating it, loses weight. Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from pydantic import Field
from torch import Tensor

from genus.core import Cond, Predictor, State, Wrap
from genus.errors import UsageError
from genus.learned.borrowed import lent


@final
class Contrast(Wrap):
    """place: the folder of the weaker model; empty: none. strength: of the difference, 0 is none. keep: see above."""

    knob: ClassVar[tuple[str, str] | None] = ("contrast", "strength")

    kind: Literal["learned.contrast"] = "learned.contrast"
    place: str = ""
    strength: float = Field(0.5, ge=0)
    keep: float = Field(0.1, gt=0, le=1)

    def __call__(
        self,
        predict: Predictor,
        null: Callable[[int], Cond] | None,
        fields: Mapping[str, Sequence[Any]] | None = None,
    ) -> Predictor:
        """The contrasted predictor. Raises `UsageError` for a weaker model that draws no tokens by itself."""
        if not self.place or self.strength == 0:
            return predict
        model, _ = lent(Path(self.place))
        if model.space.vocab is None or model.conditioner is not None:
            raise UsageError(f"{self.place} says no tokens to compare with: its model draws none, or wants a condition")
        return Contrasted(self, predict, model.predictor(nets=model.drawing())[0])


@final
@dataclass(frozen=True)
class Contrasted:
    """The model, and the weaker one beside it."""

    contrast: Contrast
    predict: Predictor
    weaker: Predictor

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """Logits, -inf where the model itself finds an id unlikely."""
        both = state if isinstance(state, Both) else None
        if both is not None:
            both.one.wanted = both.other.wanted = both.wanted
        p = self.predict(x, t, cond, None if both is None else both.one).float().log_softmax(-1)
        r = self.weaker(x, None, Cond(), None if both is None else both.other).float().log_softmax(-1)
        least = p.amax(-1, keepdim=True) + math.log(self.contrast.keep)
        return (p + self.contrast.strength * (p - r)).masked_fill(p < least, -math.inf)

    def start(self, batch: int, cells: int) -> State | None:
        """A state of either; None if one of the two keeps none."""
        one, other = self.predict.start(batch, cells), self.weaker.start(batch, cells)
        return None if one is None or other is None else Both(one, other)


@final
class Both(State):
    """What two predictors remember of the same cells."""

    def __init__(self, one: State, other: State) -> None:
        self.one, self.other = one, other

    def __len__(self) -> int:
        return len(self.one)

    @property
    def size(self) -> int:
        """See `State`."""
        return self.one.size + self.other.size

    def rewind(self, cells: Sequence[int]) -> None:
        """See `State`."""
        self.one.rewind(cells)
        self.other.rewind(cells)

    def take(self, rows: Sequence[int]) -> Both:
        """See `State`."""
        return Both(self.one.take(rows), self.other.take(rows))

    def join(self, other: State) -> Both:
        """See `State`."""
        assert isinstance(other, Both), "rows of one predictor"
        return Both(self.one.join(other.one), self.other.join(other.other))
