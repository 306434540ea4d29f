"""A bound on what a model says to itself: after so many ids of thought the mark that ends it follows, and the answer.

Muennighoff et al. 2025 (arXiv 2501.19393) bound thoughts in this way and find accuracy rising with the bound. A thought
stands between `<think>` and `</think>` (`genus.dialogue`) at the beginning of an answer, or was opened by the prompt;
an answer without one is left alone. A rule as any other: it says which ids may follow those drawn, and knows no loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from genus.core import Codec, Rule, Spelled
from genus.dialogue import THINK, THOUGHT
from genus.errors import UsageError

OPENED, ENDED = THINK.encode(), THOUGHT.encode()


@final
class Thinking:
    """budget: ids of a thought at most, its marks not counted; 0: none. Raises `UsageError` for a negative one, or a
    codec whose ids are no bytes.
    """

    def __init__(self, codec: Codec, budget: int) -> None:
        if budget < 0:
            raise UsageError(f"thinking_budget = {budget}; a thought has 0 ids or more")
        if not isinstance(codec, Spelled) or codec.space.vocab is None:
            raise UsageError("thinking_budget: this model draws no ids that stand for bytes of text")
        self.budget, self.vocab, self.spelling = budget, codec.space.vocab, codec.spelling
        self.open, self.end = (codec.encode([mark])[0][0, :-1].tolist() for mark in (THINK, THOUGHT))

    def rule(self, before: Sequence[int], then: Rule | None = None) -> Rule:
        """For a sample behind these ids. then: what the answer keeps to; told the ids behind the thought."""
        told = self.text(before[-len(OPENED) - 4 :]).rstrip()
        return Bounded(self, told.endswith(OPENED), then)

    def written(self, ids: Sequence[int], mark: bytes) -> int | None:
        """How many of the ids there are when the mark has been written; None: it is not there."""
        tail = b""
        for n, i in enumerate(ids, 1):
            tail = tail[-len(mark) :] + self.text([i])
            if mark in tail:
                return n
        return None

    def text(self, ids: Sequence[int]) -> bytes:
        """What ids spell; a network may have more of them than the codec."""
        return b"".join(self.spelling[i] for i in ids if i < len(self.spelling))


@final
@dataclass(frozen=True, slots=True)
class Bounded:
    """A rule: see `Rule`. begun: the prompt has opened the thought."""

    thinking: Thinking
    begun: bool
    then: Rule | None = None

    def __call__(self, drawn: Sequence[int]) -> Tensor:
        """Bool [vocab]."""
        own, start = self.thinking, 0
        if not self.begun:
            if not own.text(drawn).lstrip().startswith(OPENED):
                return self._unopened(drawn)
            start = own.written(drawn, OPENED) or 0
        stop = own.written(drawn[start:], ENDED)
        if stop is not None:
            return self._answer(drawn[start + stop :])
        thought = list(drawn[start:])
        if len(thought) < own.budget:
            return self._any()
        most = min(len(thought), len(own.end) - 1)
        begun = max(k for k in range(most + 1) if thought[len(thought) - k :] == own.end[:k])
        return self._only(own.end[begun])

    def _unopened(self, drawn: Sequence[int]) -> Tensor:
        """The mark may begin and, once begun, goes on; all else is an answer."""
        mark = self.thinking.open
        if self.then is None:
            return self._any()
        if drawn and list(drawn) == mark[: len(drawn)]:
            return self._only(mark[len(drawn)])
        return self.then(drawn) if drawn else self.then(drawn) | self._only(mark[0])

    def _answer(self, drawn: Sequence[int]) -> Tensor:
        return self._any() if self.then is None else self.then(drawn)

    def _any(self) -> Tensor:
        return torch.ones(self.thinking.vocab, dtype=torch.bool)

    def _only(self, i: int) -> Tensor:
        found = torch.zeros(self.thinking.vocab, dtype=torch.bool)
        found[i] = True
        return found
