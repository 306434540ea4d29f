"""What a policy's answers earn by the reward that it learned from, and how far it has gone for that.

Answers to held-out questions are drawn as in training, from the policy as it is. Beside them: what the model that it
began from earns, and by how many nats an answer is likelier now than by that one: an estimate of the divergence. A
learned reward (`learned.judge`) is worth believing near where it was taught; whether more of it is better is told by
another measure (Gao et al. 2022, arXiv 2210.10760).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from genus import dialogue
from genus.core import Model, Noise
from genus.errors import UsageError
from genus.learned.attempts import PLAINLY, log_probs
from genus.learned.borrowed import lent
from genus.parts import Any_
from genus.rewards.reward import Reward
from genus.validate.answers import conversations, question
from genus.validate.findings import Figure, Finding, Measure, Result, share
from genus.validate.show import items
from genus.validate.subject import QUIET, Subject
from genus.watch import Watch

EARNED, FAR = "reward_earned", "nats_from_start"


class Earned(NamedTuple):
    """Of each question: what was said, what that is worth, and by how many nats it is likelier than by the start."""

    said: list[str]
    worth: NDArray[np.float64]
    far: NDArray[np.float64]


@final
class Rewarded(Measure):
    """reward: judges. items: questions at most. tokens: of an answer at most."""

    kind: Literal["validate.rewarded"] = "validate.rewarded"
    reward: Any_[Reward]
    items: int = Field(200, ge=1)
    tokens: int = Field(128, ge=1)
    shown: int = Field(4, ge=0)

    def __call__(self, subject: Subject) -> Result:
        """Mean reward with a bootstrap interval over questions, and before."""
        records = conversations(subject.held_out(1 << 30))[: self.items]
        if not records or subject.model.prompt != "turn":
            return Result(notes=("No reward is measured: nothing that is held out is a conversation.",))
        try:
            reward = self.reward.after(subject.earlier)
        except UsageError as error:
            return Result(notes=(f"No reward is measured: {error}.",))
        asked = [question(record) for record in records]
        right = [dialogue.versions(dialogue.read(record.media))[0][-1].text for record in records]
        model, unit = subject.model, "mean reward"
        before = None if subject.before is None else lent(subject.before)[0]
        now = earned(model, before, reward, asked, right, self.tokens, subject.seed, subject.batch, subject.watch)
        metrics = [Finding(EARNED, *share(now.worth), unit, "higher", subject.held)]
        baselines = []
        if before is not None:
            metrics.append(Finding(FAR, *share(now.far), "nats an answer", "lower", subject.held))
            then = earned(before, None, reward, asked, right, self.tokens, subject.seed, subject.batch, subject.watch)
            baselines.append(Finding(f"{EARNED}/before", *share(then.worth), unit, "higher", subject.held))
        texts = [
            dialogue.written((*messages, dialogue.Message("assistant", text))) + f"\n({value:.3g})"
            for messages, text, value in zip(asked, now.said, now.worth, strict=True)
        ][: self.shown]
        figure = Figure("Rewards", "Held-out questions, the first of them, and what the answer earns.", items(texts))
        note = f"One answer to each of {len(records):,} held-out questions, drawn at temperature 1."
        return Result(tuple(metrics), tuple(baselines), (figure,) if texts else (), (note,))


def earned(
    model: Model,
    before: Model | None,
    reward: Reward,
    asked: Sequence[Sequence[dialogue.Message]],
    right: Sequence[str],
    tokens: int,
    seed: int = 0,
    batch: int = 50,
    watch: Watch = QUIET,
) -> Earned:
    """Answers drawn from a policy as it is, one to each question. before: None: `far` is zero. right: the data's."""
    said: list[str] = []
    far = np.zeros(len(asked))
    for start in range(0, len(asked), batch):
        some = range(start, min(start + batch, len(asked)))
        noise = Noise(seed).child("earned").of(some)
        x, mask = model.answers(noise, [asked[i] for i in some], tokens, **PLAINLY)
        said += model.said(x, mask)
        if before is not None:
            apart = (log_probs(model, x) - log_probs(before, x)) * mask
            far[start : some.stop] = apart.flatten(1).sum(1).double().numpy()
        watch.tick(len(said), len(asked), "answers")
    return Earned(said, np.array(reward.all(asked, right, said)), far)
