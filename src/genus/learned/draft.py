"""A smaller model that guesses what a larger one will say: another run, or an earlier phase. See `samplers.drawing`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, final

from torch import Tensor

from genus.core import Cond, Predictor, Space, State, Wrap
from genus.errors import UsageError
from genus.learned.borrowed import lent


@final
class Draft(Wrap):
    """place: the folder of a model with the same ids; empty: none guesses. What is drawn stays the same."""

    knob: ClassVar[tuple[str, str] | None] = ("draft", "place")

    kind: Literal["learned.draft"] = "learned.draft"
    place: str = ""

    def __call__(
        self,
        predict: Predictor,
        null: Callable[[int], Cond] | None,
        fields: Mapping[str, Sequence[Any]] | None = None,
    ) -> Predictor:
        """The predictor with its draft. Raises `UsageError` for one that draws no tokens by itself."""
        if not self.place:
            return predict
        model, _ = lent(Path(self.place))
        draft, _ = model.predictor(nets=model.drawing())
        if model.space.vocab is None or model.conditioner is not None:
            raise UsageError(f"{self.place} cannot guess tokens: its model draws none, or wants a condition")
        return Drafting(predict, draft, model.space)


@final
@dataclass(frozen=True)
class Drafting:
    """`predict`, and beside it what guesses for it."""

    predict: Predictor
    draft: Predictor
    draft_space: Space

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """As `predict`."""
        return self.predict(x, t, cond, state)

    def start(self, batch: int, cells: int) -> State | None:
        """That of `predict`."""
        return self.predict.start(batch, cells)


def alike(codec: Any, place: Path) -> None:
    """Raises `UsageError` if the model in `place` does not read text as the same ids."""
    other = lent(place)[0].codec
    probe = ["The cat sat, 3 < 4: naïve.\n", "def f(x):\n    return x"]
    if codec.space.vocab != other.space.vocab or any(
        a.tolist() != b.tolist() for a, b in zip(codec.encode(probe), other.encode(probe), strict=True)
    ):
        raise UsageError(f"the model in {place} reads text as other ids, so it cannot guess for this one")
