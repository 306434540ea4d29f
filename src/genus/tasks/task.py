"""What a task is: a part that asks an examinee, and hands back a number for each item.

Intervals are of the items: Wilson's (1927) for shares of yes and no, a percentile bootstrap for all else. Every score
says what chance alone would give, where that is known. Not here: any kind of task, any model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from genus.dialogue import Message
from genus.errors import UsageError
from genus.parts import Any_, Part
from genus.validate.findings import Better, Figure, Finding

if TYPE_CHECKING:
    from genus.tasks.examinee import Examinee

Floats = NDArray[np.float64]
RESAMPLES = 1000
Z = 1.959964  # of a 95 % interval


@final
@dataclass(frozen=True, slots=True)
class Item:
    """A question. answer: what is right; empty: it has no answer. choices: of which `right` is the right one.

    worked: the answer as an example shows it, with its way; empty: as it is. more: what else a kind needs (tests).
    """

    asked: str
    answer: str = ""
    choices: tuple[str, ...] = ()
    right: int = 0
    worked: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, str]:
        """What training must not have held: the question, and its answer with its way."""
        return self.asked, self.worked or self.answer


class Items(Part, ABC):
    """Where questions come from."""

    @abstractmethod
    def read(self, examinee: Examinee) -> list[Item]:
        """Those to ask, in an order that does not change. Raises `UsageError` with the remedy if they are not there."""

    def examples(self, examinee: Examinee) -> list[Item]:
        """Others, to show as examples, the first of them first; none: some of those to ask are shown instead."""
        return []


class Prompt(NamedTuple):
    """A question as plain text, and as turns of a conversation for a model that learned these; none: text always."""

    text: str
    messages: tuple[Message, ...] = ()


@final
class Form(Part):
    """How a question is put. {} stands for it, or for an answer; system: said first, in both ways of asking."""

    kind: Literal["tasks.task.form"] = "tasks.task.form"
    question: str = "Question: {}\nAnswer:"
    answer: str = " {}"
    between: str = "\n\n"
    system: str = ""

    def prompt(self, asked: str, examples: Sequence[Item] = ()) -> Prompt:
        """A question behind some that are answered."""
        told = [(item.asked, item.worked or item.answer) for item in examples]
        shown = [self.question.replace("{}", q) + self.answer.replace("{}", a) for q, a in told]
        text = self.between.join([*([self.system] if self.system else ()), *shown, self.question.replace("{}", asked)])
        messages = [Message("system", self.system)] if self.system else []
        for q, a in told:
            messages += [Message("user", q), Message("assistant", a)]
        return Prompt(text, (*messages, Message("user", asked)))


Statistic = Callable[..., float]


def mean(values: Floats) -> float:
    """Over items."""
    return float(values.mean())


def rate(top: Floats, bottom: Floats) -> float:
    """Of two sums over items."""
    return float(top.sum() / bottom.sum()) if bottom.sum() else math.nan


@final
@dataclass(frozen=True)
class Score:
    """One figure of a task. columns: numbers of each item, [items, ...] each; statistic: of these columns, the figure.

    An item whose number in the first column is NaN does not count. chance: what an examinee that knows nothing would
    get; None: unknown, or there is no such thing. main: what a task is known by, and what is shown against the number
    of examples.
    """

    name: str
    columns: tuple[Floats, ...]
    statistic: Statistic = mean
    chance: float | None = None
    unit: str = "share"
    better: Better = "higher"
    main: bool = False

    def finding(self, keep: NDArray[np.bool_] | None = None, split: str = "test", seed: int = 0) -> Finding:
        """The figure with its 95 % interval. keep: which items count; None: all."""
        counts = np.isfinite(self.columns[0].reshape(len(self.columns[0]), -1)).all(1)
        counts = counts if keep is None else counts & keep
        columns = [column[counts] for column in self.columns]
        n = len(columns[0])
        if not n:
            return Finding(self.name, math.nan, None, None, self.unit, self.better, split)
        value = self.statistic(*columns)
        low: float | None
        high: float | None
        if self.statistic is mean and np.isin(columns[0], (0.0, 1.0)).all():
            low, high = wilson(float(columns[0].sum()), n)
        else:
            low, high = bootstrap(self.statistic, columns, seed)
        return Finding(self.name, value, low, high, self.unit, self.better, split)


def wilson(hits: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share, hits of n (Wilson 1927); never outside 0 .. 1, and no point where all are right."""
    p, square = hits / n, Z * Z
    middle = (p + square / (2 * n)) / (1 + square / n)
    reach = Z / (1 + square / n) * math.sqrt(p * (1 - p) / n + square / (4 * n * n))
    # Rounding would leave a share of none a hair above 0, and so above a chance of 0.
    return max(0.0, middle - reach) if hits else 0.0, min(1.0, middle + reach) if hits < n else 1.0


def bootstrap(statistic: Statistic, columns: Sequence[Floats], seed: int = 0) -> tuple[float | None, float | None]:
    """The 95 % percentile interval of a statistic over items that are drawn again; none of a single item."""
    n = len(columns[0])
    if n < 2:
        return None, None
    rng = np.random.default_rng(seed)
    drawn = [statistic(*(column[pick] for column in columns)) for pick in rng.integers(0, n, (RESAMPLES, n))]
    finite = np.array([value for value in drawn if math.isfinite(value)])
    if not len(finite):
        return None, None
    low, high = np.quantile(finite, (0.025, 0.975))
    return float(low), float(high)


@final
@dataclass(frozen=True)
class Outcome:
    """What a task found. items: as they were asked, in the order of the scores' columns. said: an answer to each that
    may be shown; none: nothing was said. baselines: of other kinds than chance. curves: points of its pictures, for
    evaluation.json.
    """

    items: Sequence[Item]
    scores: tuple[Score, ...]
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    said: Sequence[str] = ()
    baselines: tuple[Finding, ...] = ()
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)

    @property
    def main(self) -> Score:
        """The figure that the task is known by: the first that says so, or the first."""
        return next((score for score in self.scores if score.main), self.scores[0])


class Task(Part, ABC):
    """name: what a user calls it. limit: items to ask at most; None: all. seed: of all that it draws by chance."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")
    limit: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**63)

    @abstractmethod
    def __call__(self, examinee: Examinee) -> Outcome:
        """Ask. Raises `UsageError` where the data is missing, or the model cannot be asked so."""


class Shown(Task):
    """A task whose questions may stand behind examples. shots: so many. form: how they are put."""

    items: Any_[Items]
    shots: int = Field(0, ge=0)
    form: Form = Form()

    def picked(self, examinee: Examinee) -> tuple[list[Item], list[Item]]:
        """(to ask, to show): shuffled by the seed, so that a limit takes some of all; no item is in both.

        Raises `UsageError` if there is nothing to ask, or too little to show.
        """
        every, shown = self.items.read(examinee), self.items.examples(examinee)[: self.shots]
        mixed = [every[i] for i in np.random.default_rng(self.seed).permutation(len(every))]
        if self.shots and not shown:  # from the end, so that a limit asks the same with and without examples
            kept = len(mixed) - min(self.shots, len(mixed) // 2)
            shown, mixed = mixed[kept:], mixed[:kept]
        asked = mixed[: self.limit] if self.limit is not None else mixed
        if not asked:
            raise UsageError(f"task {self.name!r} has nothing to ask; give it a file with at least one question")
        if len(shown) < self.shots:
            raise UsageError(
                f"task {self.name!r} has {len(shown)} examples to show, not {self.shots}; ask with fewer --shots"
            )
        return asked, shown
