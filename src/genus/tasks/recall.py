"""Facts of a closed set: known, wrong, or left open; and what a threshold on certainty would make of it.

The model is shown how to say that it does not know. Of facts that there are, an answer is right, wrong or withheld. Of
invented things, which have no answer, any answer is made up. Certainty is the mean log p of the answer's tokens, so
withholding unsure answers gives a curve of risk against coverage (`calibration`).
"""

from __future__ import annotations

import math
import re
from typing import Literal, final

import numpy as np
from pydantic import Field

from genus.dialogue import Message
from genus.parts import Any_
from genus.rewards.mention import Mention
from genus.rewards.reward import Reward
from genus.tasks import calibration
from genus.tasks.examinee import Examinee
from genus.tasks.task import Floats, Form, Item, Outcome, Score, Shown
from genus.validate import charts
from genus.validate.charts import Line
from genus.validate.findings import Figure

OPEN = "I don't know"
#: What counts as leaving a question open, whatever stands around it.
_OPEN = re.compile(
    r"\b(i (do not|don't|dont|cannot|can't) (know|say|tell|answer|find)|not sure|no idea|unknown|does not exist|"
    r"doesn't exist|no such|not (aware|familiar|certain)|unable to)\b",
    re.IGNORECASE,
)
FORM = Form(system=f"Answer in a few words. If you do not know the answer, say: {OPEN}.")


@final
class Recall(Shown):
    """reward: judges answers to what has one. tokens: of an answer at most."""

    kind: Literal["tasks.recall"] = "tasks.recall"
    form: Form = FORM
    reward: Any_[Reward] = Mention()
    tokens: int = Field(24, ge=1)
    stop: tuple[str, ...] = ("\n",)

    def __call__(self, examinee: Examinee) -> Outcome:
        """Shares that are right, wrong and withheld; made up; the area under risk over coverage."""
        asked, shown = self.picked(examinee)
        shown = [item if item.answer else Item(item.asked, OPEN) for item in shown]
        prompts = [self.form.prompt(item.asked, shown) for item in asked]
        said = examinee.draws(prompts, self.tokens, self.stop, self.seed, temperature=0.0)
        there = np.array([bool(item.answer) for item in asked])
        held = np.array([withheld(one.text) for one in said])
        worth = self.reward.all(
            [(Message("user", item.asked),) for item in asked], [item.answer for item in asked], [o.text for o in said]
        )
        right = np.array([value >= 1 for value in worth]) & ~held & there
        wrong = ~right & ~held
        sure = np.array([math.fsum(one.logs) / max(1, len(one.logs)) for one in said])
        scores = [
            Score("accuracy", (of(right, there),), main=True),
            Score("wrong", (of(wrong, there),), better="lower"),
            Score("withheld", (of(held, there),), better="lower"),
        ]
        if not there.all():
            scores.append(Score("made_up", (of(~held, ~there),), chance=1.0, better="lower"))
        answered = ~held
        if answered.sum() > 1:
            even = float(wrong[answered].mean())
            columns = (of(sure, answered), wrong.astype(float))
            scores.append(Score("risk_over_coverage", columns, calibration.area, even, "mean risk", "lower"))
        points = calibration.covered(sure[answered], wrong[answered].astype(float), len(asked))
        figures = (curve(points),) if points else ()
        notes = (f"{int(there.sum()):,} facts and {int((~there).sum()):,} invented things were asked for.",)
        return Outcome(asked, tuple(scores), figures, notes, [o.text for o in said], curves={"coverage": points})


def withheld(text: str) -> bool:
    """Whether an answer says that it is none."""
    return not text.strip() or bool(_OPEN.search(text.replace("\u2019", "'")))


def of(
    values: Floats | np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    among: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> Floats:
    """Numbers of some items; NaN for the others."""
    return np.where(among, values.astype(np.float64), np.nan)


def curve(points: list[calibration.Point]) -> Figure:
    """Risk against coverage."""
    line = Line(
        "withholding what it is least sure of", [p["coverage"] for p in points], [p["risk"] for p in points], "val"
    )
    risk = next(p["risk"] for p in points)
    flat = Line("withholding at random", [min(line.x), max(line.x)], [risk, risk], "train")
    caption = "Share that is wrong among what is answered, if answers below a certainty are withheld."
    return Figure("Risk and coverage", caption, charts.curves([flat, line], "share answered", "share wrong"))
