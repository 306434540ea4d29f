"""An earlier phase's model as a reward: what it says an answer is worth, for phases that learn from their attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor, nn

from genus.core import Judge, Model, conversed
from genus.dialogue import Message
from genus.errors import UsageError
from genus.learned.borrowed import lent, told
from genus.rewards.reward import Reward

BATCH = 32  # answers judged at once, at most
AT_ONCE = 1 << 27  # logits


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
        """In its own units."""
        return self.all([asked], [reference], [said])[0]

    def all(self, asked: Sequence[Sequence[Message]], references: Sequence[str], said: Sequence[str]) -> list[float]:
        """Each by itself: what is read beside it moves no more than the last digits. Of like length, many at once, in
        the number format of the judge's training.
        """
        assert self.place is not None, "a judge is told where its model lies"
        model, _ = lent(self.place)
        judge, _ = model.predictor(nets=model.drawing(model.precision))
        if not isinstance(judge, Judge):
            raise UsageError(f"phase {self.phase!r} learned no rewards; train it with objectives.reward")
        rows = [answered(model, [*one, Message("assistant", text)]) for one, text in zip(asked, said, strict=True)]
        lengths = [x.shape[1] for x, _ in rows]
        order, found = sorted(range(len(rows)), key=lambda i: lengths[i]), [0.0] * len(rows)
        each = max(1, AT_ONCE // (max(lengths, default=1) * (model.space.vocab or 1)))
        for start in range(0, len(order), min(each, BATCH)):
            some = order[start : start + min(each, BATCH)]
            room = lengths[some[-1]]
            x, mask = (
                torch.stack([nn.functional.pad(rows[i][k], (0, room - lengths[i])) for i in some]) for k in (0, 1)
            )
            with torch.no_grad():
                for i, worth in zip(some, judge.worth(x, mask).tolist(), strict=True):
                    found[i] = worth
        return found


def answered(model: Model, messages: Sequence[Message]) -> tuple[Tensor, Tensor]:
    """A conversation up to its end as x [1, T], and where its last answer is, [1, T] bool. Of a longer one the end."""
    ids, spoken = conversed(model.codec, messages)
    stop = int(spoken.nonzero()[-1]) + 1  # a template may write something behind it
    answer = spoken[:stop].clone()
    answer[: int((~answer).nonzero()[-1]) + 1] = False  # the last answer alone
    window = model.space.dims[0]
    return model.codec.lift(ids[:, :stop])[:, -window:], answer[None, -window:]
