"""An earlier phase's model as a reward: what it says an answer is worth, for phases that learn from their attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, final

import torch
from pydantic import Field

from genus.core import Judge, conversed
from genus.dialogue import Message
from genus.errors import UsageError
from genus.learned.borrowed import lent, told
from genus.rewards.reward import Reward


@final
class JudgeConfig(Reward):
    """phase: whose model judges, trained with objectives.reward."""

    kind: Literal["learned.judge"] = "learned.judge"
    phase: str = Field("reward", pattern=r"^[a-z][a-z0-9-]*$")
    place: str | None = None

    def after(self, earlier: Mapping[str, Path]) -> Self:
        """Told where the models of earlier phases lie. Raises `UsageError` if its own is not among them."""
        return self.but(place=told(self.kind, self.phase, earlier))

    def __call__(self, asked: Sequence[Message], reference: str, said: str) -> float:
        """In its own units, by itself, so that it does not depend on what is judged beside it."""
        assert self.place is not None, "a judge is told where its model lies"
        model, _ = lent(self.place)
        judge, _ = model.predictor()
        if not isinstance(judge, Judge):
            raise UsageError(f"phase {self.phase!r} learned no rewards; train it with objectives.reward")
        ids, spoken = conversed(model.codec, [*asked, Message("assistant", said)])
        answer = spoken.clone()
        answer[: int((~spoken).nonzero()[-1]) + 1] = False  # the last answer alone
        with torch.no_grad():
            return float(judge.worth(model.codec.lift(ids)[None], answer[None, None])[0])
