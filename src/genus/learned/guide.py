"""Classifier guidance: towards the x that an earlier phase's classifier takes for what was asked.

By Bayes, the score of p(x_t | y) is that of p(x_t) plus the gradient of log p(y | x_t) (Dhariwal and Nichol 2021, arXiv
2105.05233). Clean x and score say the same (Tweedie's formula): E[x | x_t] = (x_t + sigma^2 score) / alpha. So with
x_t = (1 - t) x + t e, alpha = 1 - t and sigma = t, the predictor's clean x moves by

    p' = p + scale t^2 / (1 - t) grad log p(y | x_t)

which scale 1 makes exact for an exact classifier. Near t = 1 the gradient vanishes as fast as its factor grows: times
after `LATEST` are read as that one. Knows no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, final, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Cond, Predictor, State, Wrap
from genus.errors import UsageError
from genus.learned.borrowed import lent, told

LATEST = 0.98


@runtime_checkable
class Classifier(Predictor, Protocol):
    """(x_t [B, C, *dims], t [B]) -> log p of each known value, [B, K]: that of `objectives.classification`."""

    def chosen(self, fields: Mapping[str, Sequence[Any]]) -> Tensor:
        """[B] long: the value that is asked of each sample, -1 for none."""


@final
class Guide(Wrap):
    """phase: whose classifier. scale: 0 is no guidance, 1 the conditional distribution, more a sharper one.

    field: of the record, by which it is asked. place: the model's folder.
    """

    knob: ClassVar[tuple[str, str] | None] = ("classifier", "scale")

    kind: Literal["learned.guide"] = "learned.guide"
    phase: str = Field("classifier", pattern=r"^[a-z][a-z0-9-]*$")
    scale: float = Field(1.0, ge=0)
    field: str = "label"
    place: str | None = Field(None, exclude=True)

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        return self.but(place=told(self.kind, self.phase, earlier))

    @property
    def borrowed(self) -> dict[str, Path]:
        """The classifier."""
        return {} if self.place is None else {self.phase: Path(self.place)}

    @property
    def reads(self) -> tuple[str, ...]:
        """The one field."""
        return (self.field,)

    def __call__(
        self,
        predict: Predictor,
        null: Callable[[int], Cond] | None,
        fields: Mapping[str, Sequence[Any]] | None = None,
    ) -> Predictor:
        """The guided predictor; `predict` itself where nothing is asked. Raises `UsageError` for no classifier's phase
        and for a value that it does not know.
        """
        if self.scale == 0 or not fields or self.field not in fields:
            return predict
        assert self.place is not None, "guidance is told where its classifier lies"
        model, _ = lent(self.place)
        judge, _ = model.predictor()
        if not isinstance(judge, Classifier):
            raise UsageError(f"phase {self.phase!r} ({model.objective.kind}) is no classifier, so it guides nothing")
        return Guided(predict, judge, judge.chosen(fields), self.scale)


@final
@dataclass(frozen=True)
class Guided:
    """(x_t, t, cond) -> clean x, moved towards the values `y` [B]; where y is -1, as it was."""

    predict: Predictor
    judge: Predictor
    y: Tensor
    scale: float

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See the module. A batch several times as large as y (guidance by a null) is that of y, repeated."""
        if t is None:
            raise UsageError("a classifier guides what is drawn in times; this family has none, so set its scale to 0")
        s, y = t.clamp(max=LATEST), self.y.repeat(len(x) // len(self.y))
        with torch.inference_mode(False), torch.enable_grad():
            seen = x.detach().float().clone().requires_grad_()
            said = self.judge(seen, s.clone()).gather(1, y.clamp(min=0)[:, None])[:, 0]
            (slope,) = torch.autograd.grad((said * (y >= 0)).sum(), seen)
        far = (self.scale * s**2 / (1 - s)).view(-1, *(1,) * (x.dim() - 1))
        return self.predict(x, t, cond, state) + far * slope

    def start(self, batch: int, cells: int) -> State | None:
        """That of the predictor."""
        return self.predict.start(batch, cells)
