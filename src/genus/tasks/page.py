"""evaluation.html: one file without network or script, in the frame and style of the report's page.

The template is `page.html` beside this file, with escaping on; only charts and figures, escaped where they were made,
enter as markup. Not here: any measuring.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, final

from markupsafe import Markup

from genus.run import Run
from genus.validate import charts, show
from genus.validate.charts import Bar, Line, number
from genus.validate.findings import Figure, Finding
from genus.validate.page import filled, lasting

if TYPE_CHECKING:
    from genus.tasks.stage import Entry, Evaluation

SAID = {
    "accuracy": "Accuracy",
    "accuracy_per_byte": "Accuracy, a byte",
    "accuracy_per_token": "Accuracy, a token",
    "exact_match": "Exact match",
    "bits_per_byte": "Bits per byte",
    "perplexity_per_token": "Perplexity a token",
    "ece": "Calibration error",
    "brier": "Brier score",
    "wrong": "Wrong",
    "withheld": "Withheld",
    "made_up": "Made up",
    "risk_over_coverage": "Risk over coverage",
}
SHOWN = 3


@final
@dataclass(frozen=True)
class Part:
    """One task at one number of examples."""

    title: str
    about: str
    chart: Markup
    figures: list[Figure]
    texts: Markup
    notes: tuple[str, ...]


@final
@dataclass(frozen=True)
class Page:
    """All that the template reads."""

    name: str
    about: str
    line: str
    good: bool
    word: str
    headline: str
    rows: list[tuple[str, str, str, str, str, str]]
    shots: list[tuple[str, str, Markup]]
    parts: list[Part]
    notes: tuple[str, ...]
    made: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))


def of(run: Run, said: Evaluation) -> Page:
    """The page of an evaluation."""
    asked = sum(len(entry.outcome.items) for entry in said.entries)
    form = "asked in turns of a conversation" if said.chat else "asked as plain text"
    return Page(
        name=run.name,
        about=run.recipe.about,
        line=" · ".join([f"recipe {run.recipe.name}", form, f"{asked:,} items"]),
        good=True,
        word="Evaluation",
        headline=headline(said.entries),
        rows=[row(entry) for entry in said.entries],
        shots=list(against_shots(said.entries)),
        parts=[part(entry) for entry in said.entries],
        notes=said.notes,
    )


def render(page: Page) -> str:
    """The whole file."""
    return filled("genus.tasks", page)


def titled(entry: Entry) -> str:
    """A task with its number of examples."""
    return entry.task.name + (f", {entry.shots} shown" if entry.shots else "")


def headline(entries: Sequence[Entry]) -> str:
    """How many tasks are better than chance, beyond their interval."""
    judged = [entry for entry in entries if entry.outcome.main.chance is not None]
    better = sum(beyond(entry) for entry in judged)
    if not judged:
        return "No task that was asked has a known chance level."
    return f"{better} of {len(judged)} results are better than chance, with their whole interval."


def beyond(entry: Entry) -> bool:
    """Whether the whole interval of the main figure is on the better side of chance."""
    finding, chance = entry.main, entry.outcome.main.chance
    if chance is None or finding.low is None or finding.high is None:
        return False
    return finding.low > chance if finding.better == "higher" else finding.high < chance


def span(finding: Finding) -> str:
    """An interval as text."""
    if finding.low is None or finding.high is None or not math.isfinite(finding.low + finding.high):
        return ""
    return f"{number(finding.low, finding.unit)} … {number(finding.high, finding.unit)}"


def row(entry: Entry) -> tuple[str, str, str, str, str, str]:
    """(task, items, figure, value, interval, chance) of a table."""
    finding, chance = entry.main, entry.outcome.main.chance
    return (
        titled(entry),
        f"{len(entry.outcome.items):,}",
        SAID.get(finding.name, finding.name.replace("_", " ")),
        number(finding.value, finding.unit),
        span(finding),
        "" if chance is None else number(chance, finding.unit),
    )


def against_shots(entries: Sequence[Entry]) -> list[tuple[str, str, Markup]]:
    """The main figure against the number of examples, where there are several."""
    found = []
    for name, some in groupby(entries, lambda entry: entry.task.name):
        group = [entry for entry in some if entry.shots is not None]
        if len(group) < 2:
            continue
        x = [float(entry.shots or 0) for entry in group]
        lines = [Line("this model", x, [entry.main.value for entry in group], "val")]
        ends = [(entry.main.low, entry.main.high) for entry in group]
        for label, side in (("95 % interval", 0), ("", 1)):
            values = [end[side] for end in ends]
            if all(value is not None for value in values):
                lines.append(Line(label, x, [float(value or 0) for value in values], "train"))
        unit = SAID.get(group[0].main.name, group[0].main.name)
        found.append((name, "", Markup(charts.curves(lines, "examples shown", unit))))
    return found


def part(entry: Entry) -> Part:
    """A section: every figure beside chance, pictures, some answers."""
    bars = []
    for score, finding in zip(entry.outcome.scores, entry.found, strict=True):
        label = SAID.get(finding.name, finding.name.replace("_", " "))
        bars.append(Bar(label, finding.value, finding.low, finding.high, "model", finding.unit))
        if score.chance is not None:
            bars.append(Bar("by chance", score.chance, None, None, "baseline", finding.unit))
        others = [other for other in entry.outcome.baselines if other.name.startswith(f"{finding.name}/")]
        bars += [Bar(o.name.split("/", 1)[1], o.value, None, None, "baseline", o.unit) for o in others]
    notes = list(entry.outcome.notes)
    if entry.dirty is not None:
        notes.append(
            f"Contaminated: {number(entry.dirty.value, 'share')} of {entry.judged:,} items that can be judged."
        )
        if entry.whole is not None and entry.whole.value:
            notes.append(f"Word for word in the training data: {number(entry.whole.value, 'share')}.")
        for before, after in zip(entry.found, entry.clean, strict=False):
            if before.name == entry.main.name:
                said = f"{number(after.value, after.unit)} ({span(after)})"
                notes.append(f"Without them: {said}, with them {number(before.value, before.unit)}.")
    texts = [
        f"{item.asked}\n→ {said}\n({item.answer or (item.choices[item.right] if item.choices else 'no answer')})"
        for item, said in zip(entry.outcome.items[:SHOWN], entry.outcome.said, strict=False)
    ]
    return Part(
        titled(entry),
        f"{len(entry.outcome.items):,} items, {lasting(entry.seconds)}.",
        Markup(charts.bars(bars)),
        [Figure(f.title, f.caption, Markup(f.html)) for f in entry.outcome.figures],
        Markup(show.items(texts) if texts else ""),
        tuple(notes),
    )
