"""Which questions are solved by answers that are drawn: exact match of one, or pass@k of several, by a rule.

The rule is a reward, such as the last number (`rewards.arithmetic`) or the same words (`rewards.match`); an answer is
right if it is worth 1. One greedy answer gives exact match; n drawn ones pass@k without bias (Chen et al. 2021, arXiv
2107.03374).
"""

from __future__ import annotations

from typing import Literal, final

import numpy as np
from pydantic import Field

from genus.dialogue import Message
from genus.parts import Any_
from genus.rewards.match import Match
from genus.rewards.reward import Reward
from genus.tasks.examinee import Examinee
from genus.tasks.task import Outcome, Score, Shown
from genus.validate.solved import passes


@final
class Drawn(Shown):
    """reward: judges. attempts: at each question; ks: of pass@k. tokens: of an answer at most. stop: ends an answer."""

    kind: Literal["tasks.drawn"] = "tasks.drawn"
    reward: Any_[Reward] = Match()
    attempts: int = Field(1, ge=1)
    ks: tuple[int, ...] = (1, 4, 16)
    temperature: float = Field(0.0, ge=0)
    tokens: int = Field(64, ge=1)
    stop: tuple[str, ...] = ("\n",)

    def __call__(self, examinee: Examinee) -> Outcome:
        """Exact match of one greedy answer; else pass@k, and the mean of a graded reward."""
        asked, shown = self.picked(examinee)
        n = self.attempts
        prompts = [self.form.prompt(item.asked, shown) for item in asked for _ in range(n)]
        said = examinee.draws(prompts, self.tokens, self.stop, self.seed, temperature=self.temperature)
        questions = [(Message("user", item.asked),) for item in asked for _ in range(n)]
        right = [item.answer for item in asked for _ in range(n)]
        worth = np.array(self.reward.all(questions, right, [one.text for one in said])).reshape(len(asked), n)
        hits = (worth >= 1).sum(1)
        scores = []
        if n == 1:
            scores.append(Score("exact_match", ((worth[:, 0] >= 1).astype(float),), chance=0.0, main=True))
        else:
            for k in (k for k in self.ks if k <= n):
                passed = np.array([passes(n, int(h), k) for h in hits])
                scores.append(Score(f"pass_at_{k}", (passed,), chance=0.0, main=k == 1))
        if ((worth > 0) & (worth < 1)).any():
            scores.append(Score("reward", (worth.mean(1),), unit="mean reward"))
        cut = float(np.mean([not one.whole for one in said]))
        notes = (f"{cut:.0%} of the answers ended at the limit of {self.tokens} tokens.",) if cut else ()
        return Outcome(asked, tuple(scores), (), notes, [one.text for one in said[::n]])
