"""Which held-out questions are solved, by a reward that can be checked: pass@k, beside the model that it began from.

pass@k is the chance that one of k answers is right, worked out without bias from the n that were drawn (Chen et al.
2021, arXiv 2107.03374): 1 - C(n - c, k) / C(n, k) where c are. An answer is right if its reward is 1; of graded rewards
the mean is told too. Answers are drawn as in use, by the recipe's sampler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, final

import numpy as np
from pydantic import Field

from genus import dialogue
from genus.core import Model
from genus.learned.borrowed import lent
from genus.parts import Any_
from genus.rewards.reward import Reward
from genus.validate.answers import conversations, question
from genus.validate.findings import Figure, Finding, Measure, Result, share
from genus.validate.show import items
from genus.validate.subject import Subject, answers

PASSED = "pass_at_1"


@final
class Solved(Measure):
    """reward: judges. items: questions at most. attempts: at each. ks: of pass@k. tokens: of an answer at most.
    thinking: of its thought at most; None: as long as it likes.
    """

    kind: Literal["validate.solved"] = "validate.solved"
    reward: Any_[Reward]
    items: int = Field(200, ge=1)
    attempts: int = Field(4, ge=1)
    ks: tuple[int, ...] = (1, 4)
    tokens: int = Field(128, ge=1)
    thinking: int | None = Field(None, ge=0)
    shown: int = Field(4, ge=0)

    def __call__(self, subject: Subject) -> Result:
        """pass@k with a bootstrap interval over questions, now and before."""
        records = conversations(subject.held_out(1 << 30))[: self.items]
        if not records or subject.model.prompt != "turn":
            return Result(notes=("No questions are solved: nothing that is held out is a conversation.",))
        reward = self.reward.after(subject.earlier)
        asked = [question(record) for record in records]
        right = [dialogue.versions(dialogue.read(record.media))[0][-1].text for record in records]
        said, worth = self._tried(subject.model, reward, asked, right, subject)
        metrics = self._findings(worth, subject.held, "")
        baselines: tuple[Finding, ...] = ()
        if subject.before is not None:
            model, _ = lent(subject.before)
            baselines = self._findings(self._tried(model, reward, asked, right, subject)[1], subject.held, "/before")
        texts = [
            dialogue.written((*messages, dialogue.Message("assistant", text))) + f"\n({value:g})"
            for messages, text, value in zip(asked, said, worth[:, 0], strict=True)
        ][: self.shown]
        figure = Figure(
            "Questions", "Held-out questions, the first of them, and what the answer is worth.", items(texts)
        )
        note = f"{len(records):,} held-out questions, {self.attempts} answers to each."
        return Result(metrics, baselines, (figure,) if texts else (), (note,))

    def _tried(
        self,
        model: Model,
        reward: Reward,
        asked: Sequence[tuple[dialogue.Message, ...]],
        right: Sequence[str],
        subject: Subject,
    ) -> tuple[list[str], np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        """The first answers, and what all are worth, [questions, attempts]."""
        said: list[str] = []
        worth = np.zeros((len(asked), self.attempts))
        for i in range(self.attempts):
            drawn = answers(
                model, asked, self.tokens, i * len(asked), subject.seed, subject.batch, subject.watch, self.thinking
            )
            worth[:, i] = reward.all(asked, right, drawn)
            said = said or drawn
        return said, worth

    def _findings(
        self, worth: np.ndarray[tuple[int, ...], np.dtype[np.float64]], split: str, end: str
    ) -> tuple[Finding, ...]:
        unit = f"share of {len(worth):,} questions"
        found = []
        for k in self.ks:
            if k <= self.attempts:
                passed = [passes(self.attempts, int((row >= 1).sum()), k) for row in worth]
                found.append(Finding(f"pass_at_{k}{end}", *share(np.array(passed)), unit, "higher", split))
        if ((worth > 0) & (worth < 1)).any():
            found.append(Finding(f"reward{end}", *share(worth.mean(1)), "mean reward", "higher", split))
        return tuple(found)


def passes(n: int, right: int, k: int) -> float:
    """The chance that one of k is right, k drawn of n of which so many are."""
    return 1 - math.comb(n - right, k) / math.comb(n, k)
