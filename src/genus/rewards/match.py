"""The same words as in the data's answer, whatever their case, spacing and final stop; or how many of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, final

from genus.dialogue import Message
from genus.rewards.reward import Reward
from genus.rewards.reward import final as answer


@final
class Match(Reward):
    """graded: the F1 of words that are the same, instead of all or nothing."""

    kind: Literal["rewards.match"] = "rewards.match"
    graded: bool = False

    def __call__(self, asked: Sequence[Message], reference: str, said: str) -> float:
        """See the class."""
        right, given = words(answer(reference)), words(answer(said))
        if not self.graded:
            return float(right == given)
        both = sum((Counter(right) & Counter(given)).values())
        return 2 * both / (len(right) + len(given)) if both else 0.0


def words(text: str) -> list[str]:
    """In small letters, without a final stop."""
    return text.casefold().strip().rstrip(".").split()
