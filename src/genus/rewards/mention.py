"""The data's answer stands somewhere in what was said, as whole words, whatever their case and stops.

For short facts that are answered in a sentence. An answer that lists everything would mention the right one too, so
what is longer than `words` is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, final

from pydantic import Field

from genus.dialogue import Message
from genus.rewards.reward import Reward
from genus.rewards.reward import final as answer

_WORD = re.compile(r"[^\W_]+")


@final
class Mention(Reward):
    """words: of an answer at most."""

    kind: Literal["rewards.mention"] = "rewards.mention"
    words: int = Field(30, ge=1)

    def __call__(self, asked: Sequence[Message], reference: str, said: str) -> float:
        """See the module."""
        right, given = (_WORD.findall(answer(text).casefold()) for text in (reference, said))
        if not right or len(given) > self.words:
            return 0.0
        return float(any(given[i : i + len(right)] == right for i in range(len(given) - len(right) + 1)))
