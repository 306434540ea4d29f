"""What a reward is: a part that looks at what was asked, at the answer that the data gives, and at what was said.

1 is right and 0 is wrong; a graded one lies between. Rewards see texts alone and know no model, unless they borrow one
(`learned.judge`). Thinking is not judged: what counts comes after it.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence

from genus.core import Borrowing
from genus.dialogue import THOUGHT, Message

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?|[-+]?\.\d+")


class Reward(Borrowing):
    """See the module."""

    @abstractmethod
    def __call__(self, asked: Sequence[Message], reference: str, said: str) -> float:
        """Of one answer, in 0 .. 1. reference: the answer in the data; empty: it gives none."""

    def all(self, asked: Sequence[Sequence[Message]], references: Sequence[str], said: Sequence[str]) -> list[float]:
        """Of many."""
        return [self(*one) for one in zip(asked, references, said, strict=True)]


def final(said: str) -> str:
    """What comes after thinking; all of it where there is none."""
    return said.rsplit(THOUGHT, 1)[-1].strip()


def numbers(text: str) -> list[float]:
    """All numbers in a text, in order."""
    return [float(found.replace(",", "")) for found in NUMBER.findall(text)]


def question(asked: Sequence[Message]) -> str:
    """The last thing that the user said."""
    return next((m.text for m in reversed(asked) if m.role == "user"), "")
