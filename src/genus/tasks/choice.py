"""Which of some answers a model finds likeliest: by all of an answer's log p, or by that a byte, or a token.

All of it favours short answers, so the other two stand beside it (Brown et al. 2020, arXiv 2005.14165, section 2.4);
which one counts is said before looking: `by`. Calibration is that of all of log p, made to sum to one over the choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import numpy as np

from genus.errors import UsageError
from genus.tasks import calibration
from genus.tasks.examinee import Examinee, Likely
from genus.tasks.task import Floats, Outcome, Score, Shown

By = Literal["sum", "byte", "token"]
NAMES: dict[By, str] = {"sum": "accuracy", "byte": "accuracy_per_byte", "token": "accuracy_per_token"}


@final
class Choice(Shown):
    """by: the way that counts."""

    kind: Literal["tasks.choice"] = "tasks.choice"
    by: By = "byte"

    def __call__(self, examinee: Examinee) -> Outcome:
        """Accuracy in all three ways, beside chance; ECE and Brier score."""
        asked, shown = self.picked(examinee)
        for item in asked:
            if len(item.choices) < 2 or not 0 <= item.right < len(item.choices):
                raise UsageError(
                    f"task {self.name!r}: {item.asked!r:.60} has {len(item.choices)} choices, and number {item.right} "
                    "is to be right; give two or more, and which of them it is"
                )
        prompts = [self.form.prompt(item.asked, shown) for item in asked]
        answers = [[self.form.answer.replace("{}", choice) for choice in item.choices] for item in asked]
        found = examinee.likelihoods(prompts, answers)
        chance = float(np.mean([1 / len(item.choices) for item in asked]))
        scores = []
        for way, name in NAMES.items():
            each = zip(found, asked, strict=True)
            hits = np.array([float(int(worth(row, way).argmax()) == item.right) for row, item in each])
            scores.append(Score(name, (hits,), chance=chance, main=way == self.by))
        more, figure, points = calibration.chosen(
            [calibration.shares(worth(row, "sum")) for row in found], [item.right for item in asked]
        )
        said = [item.choices[int(worth(row, self.by).argmax())] for row, item in zip(found, asked, strict=True)]
        return Outcome(asked, (*scores, *more), (figure,), (), said, curves={"reliability": points})


def worth(row: Sequence[Likely], by: By) -> Floats:
    """log p of each answer: all of it, or a unit."""
    units = {"sum": [1] * len(row), "byte": [one.bytes for one in row], "token": [one.tokens for one in row]}[by]
    return np.array([-one.nats / max(1, n) for one, n in zip(row, units, strict=True)])
