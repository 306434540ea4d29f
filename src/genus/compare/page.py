"""comparison.html: one file without network, script or links, for light and dark, made from a finished comparison.

The template is `page.html` beside this file, in the frame and style of the report's page, with escaping on; only
charts, escaped where they were made, enter as markup. Not here: any measuring, any rule.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from markupsafe import Markup

from genus.compare.plots import Point, Series, plot
from genus.compare.rows import apart, judged_by, ranked
from genus.validate import charts
from genus.validate.charts import Bar, number
from genus.validate.page import SAID as NAMED
from genus.validate.page import filled, lasting, weight

SAID = {
    **NAMED,
    "memorised": "Copies of training items",
    "samples_per_second": "Samples a second",
    "seconds_per_sample": "One sample alone",
    "tokens_per_second": "Tokens a second",
    "passes": "Passes a sample",
    "sharpness": "Sharpness",
    "walk": "Unevenness of a walk",
    "kwh": "Energy of training",
    "seconds": "Time of training",
    "steps": "Steps of training",
    "parameters": "Parameters",
    "peak_bytes": "Peak memory",
}
#: Which numbers stand in which chart, where the rows have them: at most one of a line of alternatives.
QUALITY = ("bits_per_byte", "bits_per_dimension", "gap_closed", "frechet_", "kernel_")
SUPPORT = ("precision", "recall", "density", "coverage")
SPEED = ("samples_per_second", "seconds_per_sample", "tokens_per_second", "passes", "sharpness", "walk")
COST = ("parameters", "steps", "seconds", "peak_bytes", "kwh")
CHARTED = ("gap_closed", "bits_per_byte", "recall", "precision", "coverage", "memorised", "nearest_item")
REAL = ("real", "held_out")
#: What stands above the tables.
PICTURES = {
    "varied": "Precision and density: whether samples look real. Recall and coverage: whether what is real gets drawn.",
    "drawn": "Samples a second in batches of 16; one alone; passes of the network a sample. Sharpness: of held-out "
    "pictures. Unevenness: largest step of a walk between two samples over the mean one.",
}
TEXT = {
    "varied": "Whether samples repeat the training text.",
    "drawn": "In batches of 16, and one alone; passes of the network a sample. Tokens after an end mark count.",
}


@final
@dataclass(frozen=True)
class Cell:
    """A number and its range, as text; best: of its column, and the ranges do not meet. note: the reason of a gap."""

    value: str
    span: str = ""
    best: bool = False
    note: str = ""


@final
@dataclass(frozen=True)
class Table:
    """A row a recipe."""

    heads: list[tuple[str, str]]  # what, which is better
    rows: list[tuple[str, str, list[Cell]]]  # recipe, family, cells


@final
@dataclass(frozen=True)
class Sheet:
    """Samples of one recipe, or held-out items: PNG in base64, or texts."""

    title: str
    about: str
    pictures: Sequence[str] = ()
    texts: Sequence[str] = ()


@final
@dataclass(frozen=True)
class Page:
    """All that the template reads."""

    name: str
    line: str
    word: str
    good: bool
    headline: str
    sheets: list[Sheet]
    caption: str
    tables: list[tuple[str, str, Table]]
    plots: list[tuple[str, str, Markup]]
    bars: list[tuple[str, str, Markup]]
    likelihoods: list[tuple[str, str]]
    claims: list[Mapping[str, Any]]  # those that the runs decide
    untested: list[Mapping[str, Any]]
    troubles: list[tuple[str, str]]
    gates: list[tuple[str, str]]
    facts: list[tuple[str, str]]
    notes: list[str]
    made: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))


def rendered(said: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    """The whole file. said: comparison.json. runs: of the finished ones, what `work` found, in order."""
    return filled("genus.compare", of(said, runs))


def of(said: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> Page:
    """The page of a comparison."""
    rows: list[dict[str, Any]] = said["rows"]
    done = [row for row in rows if row["seeds"]]
    data = said["dataset"]
    items = " and ".join(f"{n:,} {split}" for split, n in data["splits"].items() if n)
    line = [
        data["medium"],
        f"{len(rows)} recipes",
        f"{said['seeds']} seed{'s' if said['seeds'] > 1 else ''} each",
        f"{said['budget']['asked']} a run",
    ]
    written = all(run["makes"] == "text" for run in runs)
    varied, drawn = (TEXT if written else PICTURES)["varied"], (TEXT if written else PICTURES)["drawn"]
    over = "Mean over seeds; below it the least and the most."
    if said["seeds"] == 1:
        over = "Of one seed; below it the interval over its items, which says nothing of other seeds."
    tables = [
        ("How good", over + " Hover over a dash for its reason.", QUALITY),
        ("How true, how varied", varied, (*SUPPORT, "memorised", "nearest_item", "longest_copy")),
        ("How quick", drawn, SPEED),
        ("What it cost", "Of one run.", COST),
    ]
    return Page(
        name=said["name"],
        line=" · ".join(line),
        word=word(said, done),
        good=said["finished"] and any(row["gate"]["passed"] for row in done),
        headline=headline(rows),
        sheets=sheets(runs),
        caption=caption(runs),
        tables=[(title, about, t) for title, about, names in tables if (t := table(done, names)).heads],
        plots=plots(rows),
        bars=bars(rows, said["baselines"]),
        likelihoods=[(row["recipe"], likelihood(row)) for row in done],
        claims=[claim for claim in said["claims"] if claim["verdict"] != "not tested"],
        untested=[claim for claim in said["claims"] if claim["verdict"] == "not tested"],
        troubles=[(row["recipe"], reason) for row in rows for reason in row["reasons"]],
        gates=[(row["recipe"], gate(row["gate"])) for row in done],
        facts=facts(said, items),
        notes=said["notes"],
    )


def word(said: Mapping[str, Any], done: Sequence[Mapping[str, Any]]) -> str:
    """How far it is, and whether anything in it may be deployed."""
    if not said["finished"]:
        return f"Unfinished: {said['runs_done']} of {said['runs_asked']} runs"
    return "Finished" if any(row["gate"]["passed"] for row in done) else "Finished: no run passed its gate"


def headline(rows: Sequence[Mapping[str, Any]]) -> str:
    """Which to use, in a sentence or two, with how sure that is."""
    done = [dict(row) for row in rows if row["seeds"]]
    name = judged_by(done)
    if name is None:
        return "No number is shared by all recipes, so none can be called the best." if done else "No run was finished."
    first, *rest = ranked(done, name)
    unit = first[name]["unit"]
    said = (
        f"{first['recipe']} is best by {told(name)[:1].lower() + told(name)[1:]}: {number(first[name]['value'], unit)}"
    )
    if name == "gap_closed" and first[name]["value"] <= 0:
        said += ", no nearer to real pictures than a Gaussian fit of each pixel"
    if rest:
        said += f", before {rest[0]['recipe']} with {number(rest[0][name]['value'], unit)}"
        if not apart(first[name], rest[0][name]):
            n = len(first[name]["each"])
            said += ". " + ("The ranges over seeds meet, so this is no proof" if n > 1 else "One seed is no proof")
    fast = ranked(done, "samples_per_second")
    if len(fast) > 1:
        rate = [number(row["samples_per_second"]["value"]) for row in (fast[0], fast[-1])]
        said += f". {fast[0]['recipe']} draws quickest, {rate[0]} samples a second; {fast[-1]['recipe']} {rate[1]}"
    return said + "."


def told(name: str) -> str:
    """A number's name as a person reads it."""
    return SAID.get(name, name.replace("_", " "))


def shown(name: str, value: float | None, unit: str) -> str:
    """A number in the unit that people read it in."""
    if value is None:
        return "–"
    if name == "seconds":
        return lasting(value)
    if name == "seconds_per_sample":
        return f"{number(1000 * value)} ms" if value < 1 else f"{number(value)} s"
    if name == "kwh":
        return f"{number(1000 * value)} Wh"
    if name == "peak_bytes":
        return weight(value)
    if name == "parameters":
        return f"{value / 1e6:.2f} M"
    return f"{value:,.0f}" if value == int(value) and not unit.startswith("share") else number(value, unit)


def table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Table:
    """Columns of those numbers that any row has. A name that ends in `_` stands for all that begin so."""
    have = [n for row in rows for n, v in row.items() if isinstance(v, dict) and v.get("value") is not None]
    wanted = [
        n for name in names for n in dict.fromkeys(have) if n == name or (name.endswith("_") and n.startswith(name))
    ]
    heads, columns = [], []
    for name in wanted:
        better = next(row[name]["better"] for row in rows if row.get(name, {}).get("value") is not None)
        heads.append((told(name), better))
        order = ranked([dict(row) for row in rows], name) if better else []
        best = order[0]["recipe"] if len(order) > 1 and apart(order[0][name], order[1][name]) else None
        columns.append([cell(name, row.get(name), row["recipe"] == best) for row in rows])
    cells = [list(column) for column in zip(*columns, strict=True)] if columns else [[] for _ in rows]
    return Table(heads, [(row["recipe"], row["family"], c) for row, c in zip(rows, cells, strict=True)])


def cell(name: str, found: Mapping[str, Any] | None, best: bool) -> Cell:
    """One number of a table."""
    if found is None or found["value"] is None:
        return Cell("–", note=(found or {}).get("reason", "this recipe's measures do not say"))
    low, high = (shown(name, found[end], found["unit"]) for end in ("low", "high"))
    span = f"{low} … {high}" if low != high else ""
    return Cell(shown(name, found["value"], found["unit"]), span, best)


def likelihood(row: Mapping[str, Any]) -> str:
    """The number, or why there is none."""
    found = row["likelihood"]
    if found["value"] is None:
        return f"none: {found['reason']}"
    kind = "exact" if found["exact"] else "a bound"
    span = f" ({number(found['low'])} … {number(found['high'])})" if len(found["each"]) > 1 else ""
    return f"{number(found['value'])}{span} {found['unit']}, {kind}"


def gate(found: Mapping[str, Any]) -> str:
    """How many runs may be deployed, and what is against the others."""
    said = f"{found['passed']} of {found['of']} runs may be deployed"
    return said + (": " + "; ".join(found["reasons"]) if found["reasons"] else "")


def sheets(runs: Sequence[Mapping[str, Any]]) -> list[Sheet]:
    """Held-out items, then the first finished run of each recipe."""
    first: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        first.setdefault(run["recipe"], run)
    out = []
    for i, (name, run) in enumerate(first.items()):
        kind = "texts" if run["makes"] == "text" else "pictures"
        if i == 0:
            out.append(Sheet("held out", "what no model has seen", **{kind: run["real"]}))
        out.append(Sheet(name, f"training seed {run['seed']}", **{kind: run["samples"]}))
    return out


def caption(runs: Sequence[Mapping[str, Any]]) -> str:
    """What the samples have in common."""
    if len({str(run["makes"]) for run in runs}) > 1:
        return "The first samples of each, at the same seed; not all are of one size."
    return "The first samples of each, at the same seed and asked for the same, none left out."


def bars(rows: Sequence[Mapping[str, Any]], baselines: Mapping[str, Any]) -> list[tuple[str, str, Markup]]:
    """Bars of the main numbers beside their baselines."""
    done = [row for row in rows if row["seeds"]]
    out: list[tuple[str, str, Markup]] = []
    for name in CHARTED:
        have = [row for row in done if row.get(name, {}).get("value") is not None]
        if not have or all(row[name]["value"] < 0 for row in have):  # a bar begins at zero
            continue
        those = [_bar(row["recipe"], row[name], "model") for row in have]
        for other, found in baselines.items():
            metric, _, who = other.partition("/")
            if metric == name:
                those.append(_bar(SAID.get(who, who), found, "real" if who in REAL else "baseline"))
        better = {"lower": "lower is better", "higher": "higher is better"}.get(have[0][name]["better"], "")
        out.append((told(name), better, Markup(charts.bars(those))))
    return out


def plots(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, Markup]]:
    """Quality against speed; quality and time against steps."""
    done = [(i, row) for i, row in enumerate(rows) if row["seeds"]]
    out: list[tuple[str, str, Markup]] = []
    name = judged_by([dict(row) for _, row in done])
    if name is not None:
        series = []
        for i, row in done:
            rate, good = row["samples_per_second"], row[name]
            if rate["value"]:
                point = Point(rate["value"], good["value"], good["low"], good["high"])
                series.append(Series(row["recipe"], [point], i))
        better = (
            "up and to the right is better"
            if done[0][1][name]["better"] == "higher"
            else "down and to the right is better"
        )
        svg = plot(series, "samples a second", told(name))
        out += [("Quality and speed", better, Markup(svg))] if svg else []
    ladders = [
        Series(row["recipe"], [Point(r["steps"], d) for r in row["ladder"] if (d := distance(r)) is not None], i)
        for i, row in done
    ]
    svg = plot(ladders, "steps of the sampler", "Fréchet distance of few samples")
    out += [("Quality against steps", "lower is better; first seed", Markup(svg))] if svg else []
    times = [
        Series(row["recipe"], [Point(r["steps"], r["seconds_per_sample"]) for r in row["ladder"]], i) for i, row in done
    ]
    svg = plot(times, "steps of the sampler", "Seconds a sample, in batches")
    out += [("Time against steps", "lower is better; first seed", Markup(svg))] if svg else []
    return out


def distance(rung: Mapping[str, Any]) -> float | None:
    """The Fréchet distance at a number of steps."""
    return next((v for name, v in rung.items() if name.startswith("frechet_")), None)


def _bar(label: str, found: Mapping[str, Any], kind: str) -> Bar:
    several = found["low"] != found["high"]
    low, high = (found["low"], found["high"]) if several else (None, None)
    return Bar(label, found["value"], low, high, kind, found["unit"])


def facts(said: Mapping[str, Any], items: str) -> list[tuple[str, str]]:
    """Data, budget, time."""
    data, forecast = said["dataset"], said["forecast"]
    out = [
        ("Dataset", f"{data['path']}, version {data['version']}"),
        ("Digest", str(data["digest"])[:16]),
        ("Items", items),
        ("Budget of a run", said["budget"]["asked"]),
    ]
    if forecast:
        out.append(("Forecast", f"{lasting(forecast['seconds'])} for {forecast['runs']} runs"))
    out.append(("Taken", lasting(said["seconds"])))
    return out
