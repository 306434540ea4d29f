"""The number at the end: an answer is right if its last number is the last number of the data's answer.

So a worked answer may say anything on the way, as in GSM8K (Cobbe et al. 2021, arXiv 2110.14168).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

from pydantic import Field

from genus.dialogue import Message
from genus.rewards.reward import Reward, numbers
from genus.rewards.reward import final as answer


@final
class Arithmetic(Reward):
    """within: how far off a number may be, as a part of it."""

    kind: Literal["rewards.arithmetic"] = "rewards.arithmetic"
    within: float = Field(1e-6, ge=0)

    def __call__(self, asked: Sequence[Message], reference: str, said: str) -> float:
        """See the module; no number is wrong."""
        right, given = numbers(answer(reference)), numbers(answer(said))
        if not right or not given:
            return 0.0
        return float(abs(right[-1] - given[-1]) <= self.within * max(1.0, abs(right[-1])))
