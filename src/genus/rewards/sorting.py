"""Sorting: the numbers of the question in rising order, all of them and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

from genus.dialogue import Message
from genus.rewards.reward import Reward, numbers, question
from genus.rewards.reward import final as answer


@final
class Sorting(Reward):
    """falling: the largest comes first. graded: the share of places that are right, instead of all or nothing."""

    kind: Literal["rewards.sorting"] = "rewards.sorting"
    falling: bool = False
    graded: bool = False

    def __call__(self, asked: Sequence[Message], reference: str, said: str) -> float:
        """See the module."""
        right, given = sorted(numbers(question(asked)), reverse=self.falling), numbers(answer(said))
        if not self.graded:
            return float(bool(right) and given == right)
        hits = sum(a == b for a, b in zip(right, given, strict=False))
        return hits / max(1, len(right), len(given))
