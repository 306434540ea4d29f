"""scale.html: the ladder, its law, what it foretold and what came; in the frame and style of the report's page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from markupsafe import Markup

from genus.compare.plots import Point, Series, plot
from genus.train.law import Law
from genus.validate.charts import number
from genus.validate.page import filled, lasting


@final
@dataclass(frozen=True)
class Page:
    """All that the template reads."""

    name: str
    line: str
    good: bool
    word: str
    headline: str
    picture: Markup
    law: str
    rows: list[tuple[str, ...]]
    notes: list[str]
    made: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))


def rendered(name: str, said: Mapping[str, Any]) -> str:
    """The whole file. said: scale.json."""
    return filled("genus.scale", of(name, said))


def of(name: str, said: Mapping[str, Any]) -> Page:
    """The page of a ladder."""
    told, check, law = said["foretold"], said["check"], said["law"]
    span = f"{number(told['low'])} to {number(told['high'])}"
    size = f"{told['parameters'] / 1e6:.2f} M weights"
    headline = f"A model of {size} should reach a loss of {number(told['loss'])} ({span})."
    word, good = "Foretold", True
    if check is not None:
        good = bool(check["inside"])
        word = "Foretold, and so it came" if good else "Foretold, but it came otherwise"
        headline += f" It reached {number(check['loss'])}."
    return Page(
        name=name,
        line=f"recipe {said['recipe']} · {len(said['points'])} runs · {lasting(said['budget']['used_s'])} of training",
        good=good,
        word=word,
        headline=headline,
        picture=Markup(picture(said)),
        law=f"L(C) = {law['floor']:.4g} + {law['a']:.4g} / C^{law['exponent']:.3f}",
        rows=rows(said),
        notes=[
            "C is 6 N D', in floating-point operations: N weights, D' tokens seen, repeated ones counted for less.",
            f"Runs differ from the law by {law['spread']:.2%}, by its residuals and the seeds there are.",
            "The interval is of one further run, from 300 laws fitted to runs that were moved as far as runs differ.",
            "The law holds for this data, this recipe and its way to share out data; further away it says less than "
            "its interval.",
        ],
    )


def picture(said: Mapping[str, Any]) -> str:
    """Loss against compute, both logarithmic."""
    law = Law(said["law"]["floor"], ((said["law"]["a"], said["law"]["exponent"]),))
    told, check = said["foretold"], said["check"]
    runs = [Point(p["compute"], p["loss"]) for p in said["points"]]
    across = np.geomspace(min(run.x for run in runs) * 0.7, told["compute"] * 1.4, 40)
    line = [Point(float(x), float(y)) for x, y in zip(across, law(across[:, None]), strict=True)]
    series = [
        Series("law", line, 7, dots=False),
        Series("runs", runs, 0, line=False),
        Series("foretold", [Point(told["compute"], told["loss"], told["low"], told["high"])], 1),
    ]
    if check is not None:
        series.append(Series("came", [Point(check["compute"], check["loss"])], 2))
    return plot(series, "compute (6 N D')", "held-out loss", steep=True)


def rows(said: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """(size, weights, tokens, epochs, compute, loss, time) of each run, and of what was foretold."""
    found = [_row(p, number(p["loss"])) for p in said["points"]]
    told = said["foretold"]
    guess = f"{number(told['loss'])} ({number(told['low'])} … {number(told['high'])})"
    found.append(_row({**told, "epochs": None}, f"foretold {guess}"))
    if said["check"] is not None:
        found.append(_row(said["check"], number(said["check"]["loss"])))
    return found


def _row(p: Mapping[str, Any], loss: str) -> tuple[str, ...]:
    epochs = "" if p["epochs"] is None else f"{p['epochs']:.2f}"
    size = f"{p['parameters'] / 1e6:.2f} M"
    return (
        str(p["dial"]),
        size,
        f"{p['tokens'] / 1e6:.2f} M",
        epochs,
        f"{p['compute']:.2e}",
        loss,
        lasting(p["seconds"]),
    )
