"""report.html: one file without network, script or foreign fonts, for light and dark, made from a finished report.

The template is `page.html` beside this file, in the `frame.html` that other pages share, with escaping on; only figures
and charts, escaped where they were made, enter as markup. Not here: any measuring.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from genus import files
from genus.run import Run
from genus.validate import charts
from genus.validate.charts import Bar, Line, number
from genus.validate.features import NAME
from genus.validate.findings import Figure, Finding, Result

if TYPE_CHECKING:
    from genus.validate.report import Report

#: Names of metrics and opponents as a person reads them.
SAID = {
    "bits_per_byte": "Bits per byte",
    "bits_per_dimension": "Bits per dimension",
    "nats_per_dimension": "Nats per dimension (density)",
    "bits_per_code": "Bits per cell of the code",
    "nats_per_code": "Nats per cell of the code (density)",
    "gap_closed": "Gap closed",
    f"frechet_{NAME}": "Fréchet distance (EfficientNet-Lite0)",
    f"kernel_{NAME}": "Kernel distance (EfficientNet-Lite0)",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "copies": "Copies of training items",
    "longest_copy": "Longest copy",
    "nearest_item": "Distance to the nearest training item",
    "ngram5": "n-gram, order 5",
    "gzip": "gzip -9",
    "xz": "xz",
    "xz_primed": "xz, shown training text",
    "gaussian": "Gaussian fit",
    "real": "real training items",
    "held_out": "held-out items",
    "balance": "Experts: unevenness (1: all are asked alike)",
    "router_z": "Experts: squared log Z of the router",
    "dropped": "Experts: share of questions dropped in training",
}
SHORT = {"ngram5": "counting five bytes", "gzip": "gzip"}
REAL = ("real", "held_out")


@final
@dataclass(frozen=True)
class Page:
    """All that the template reads."""

    name: str
    about: str
    line: str  # recipe, medium, parameters, date
    good: bool
    word: str  # the verdict
    headline: str
    reasons: tuple[str, ...]
    cards: list[tuple[str, str, str]]  # label, number, remark
    groups: list[tuple[str, str, Markup]]  # title, which way is better, chart
    figures: list[Figure]
    curve: Markup
    learning: list[tuple[str, str]]
    cost: list[tuple[str, str]]
    data: list[tuple[str, str]]
    removed: list[tuple[str, str, int]]
    notes: tuple[str, ...]
    environment: list[tuple[str, str]]
    recipe: str
    made: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))


def of(run: Run, report: Report) -> Page:
    """The page of a run, from its records and its report."""
    result, summary = report.result, run.summary
    size = summary.get("parameters") or summary.get("params")
    line = [f"recipe {run.recipe.name}", run.recipe.family, run.medium]
    line += [f"{size / 1e6:.2f} M parameters"] if size else []
    return Page(
        name=run.name,
        about=run.recipe.about,
        line=" · ".join(line),
        good=report.passed,
        word="Passed: fit to be deployed" if report.passed else "Not fit to be deployed",
        headline=headline(result),
        reasons=report.reasons,
        cards=cards(result),
        groups=groups(result),
        # Samples first: they are what one looks for.
        figures=[
            Figure(f.title, f.caption, Markup(f.html))
            for f in sorted(result.figures, key=lambda f: f.title != "Samples")
        ],
        curve=curve(run.metrics()),
        learning=[(SAID.get(name, name), f"{value:.4g}") for name, value in learning(run.metrics()).items()],
        cost=cost(summary),
        data=described(run.data),
        removed=removed(run),
        notes=result.notes,
        environment=flat(_read(run, "environment.json")),
        recipe=json.dumps(run.recipe.model_dump(mode="json"), indent=2, ensure_ascii=False),
    )


def render(page: Page) -> str:
    """The whole file."""
    return filled("genus.validate", page)


def filled(package: str, page: Any) -> str:
    """The `page.html` of a package with its page in it, escaping on, in the house's frame and style."""
    here = {name: _text("genus.validate", name) for name in ("frame.html", "pieces.html", "style.css")}
    machine = Environment(
        loader=DictLoader({**here, "page.html": _text(package, "page.html")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return machine.get_template("page.html").render(page=page, style=Markup(here["style.css"]))


def _text(package: str, name: str) -> str:
    return resources(package).joinpath(name).read_text(encoding="utf-8")


def headline(result: Result) -> str:
    """The most telling comparison, in a sentence."""
    found = {f.name: f for f in (*result.metrics, *result.baselines)}
    if "bits_per_byte" in found:
        own = found["bits_per_byte"].value
        rest = [f for n, f in found.items() if n.startswith("bits_per_byte/")]
        others = ", ".join(f"{f.value:.2f} of {SHORT.get(f.name.split('/')[1], f.name)}" for f in rest[:2])
        return f"It predicts text it has never seen at {own:.2f} bits per byte" + (
            f", against {others}." if others else "."
        )
    if "gap_closed" in found:
        gap = found["gap_closed"].value
        if not gap > 0:
            return "Its pictures are no nearer to real ones than a Gaussian fit of each pixel."
        return f"Its pictures close {gap:.0%} of the way from a Gaussian fit to real ones."
    return "Nothing was measured that could be compared with a baseline."


def cards(result: Result) -> list[tuple[str, str, str]]:
    """The first metrics, large, with their intervals."""
    out = []
    for f in result.metrics[:8]:
        told = f.low is not None and f.high is not None and math.isfinite(f.low) and math.isfinite(f.high)
        interval = f"{number(f.low, f.unit)} … {number(f.high, f.unit)}" if told else ""
        out.append((SAID.get(f.name, f.name), number(f.value, f.unit), interval or f.unit))
    return out


def groups(result: Result) -> list[tuple[str, str, Markup]]:
    """Each metric that has opponents, as bars beside them."""
    out = []
    for metric in result.metrics:
        others = [b for b in result.baselines if b.name.startswith(f"{metric.name}/")]
        if not others:
            continue
        rows = [_bar(metric, "this model", "model")]
        for other in others:
            name = other.name.split("/", 1)[1]
            rows.append(_bar(other, SAID.get(name, name), "real" if name in REAL else "baseline"))
        better = "lower is better" if metric.better == "lower" else "higher is better"
        out.append((SAID.get(metric.name, metric.name), better, Markup(charts.bars(rows))))
    return out


def _bar(f: Finding, label: str, kind: str) -> Bar:
    return Bar(label, f.value, f.low, f.high, kind, f.unit)


def curve(rows: list[dict[str, Any]]) -> Markup:
    """Training loss, smoothed over a fiftieth of the run, and validation loss; of the last phase."""
    last = rows[-1].get("phase") if rows else None
    rows = [r for r in rows if r.get("phase") == last and isinstance(r.get("loss"), int | float)]
    train = [(r["step"], r["loss"]) for r in rows if r["split"] == "train"]
    val = [(r["step"], r["loss"]) for r in rows if r["split"] == "val"]
    lines = []
    if train:
        x, y = (np.array(v, float) for v in zip(*train, strict=True))
        width = max(1, len(y) // 50)
        smooth = np.convolve(np.pad(y, (width - 1, 0), "edge"), np.ones(width) / width, "valid")
        lines.append(Line("training", x.tolist(), smooth.tolist(), "train"))
    if val:
        lines.append(Line("validation", [step for step, _ in val], [loss for _, loss in val], "val"))
    return Markup(charts.curves(lines, "steps", "loss"))


def learning(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What else training logged, by name: means over the last tenth of the last phase's rows."""
    last = rows[-1].get("phase") if rows else None
    rows = [row for row in rows if row.get("phase") == last and row["split"] == "train"]
    rows = rows[-max(1, len(rows) // 10) :]
    known = ("phase", "step", "seconds", "split", "loss", "norm", "rate")
    names = [name for name in (rows[-1] if rows else ()) if name not in known]
    found = {name: [row[name] for row in rows if isinstance(row.get(name), int | float)] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items() if values}


def cost(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Forecast against used, steps, memory, energy."""
    out: list[tuple[str, str]] = []
    asked, forecast, used = (summary.get(k) for k in ("asked_s", "forecast_s", "seconds"))
    out += [("Budget", lasting(asked))] if asked else []
    if forecast and used:
        out.append(("Time forecast", lasting(forecast)))
        out.append(("Time used", f"{lasting(used)} ({used / forecast - 1:+.0%} of the forecast)"))
    elif used:
        out.append(("Time used", lasting(used)))
    steps = summary.get("steps")
    out += [("Steps", f"{steps:,}")] if steps else []
    peak = summary.get("peak_bytes")
    out += [("Peak memory", f"{peak / 2**30:.2f} GiB")] if peak else []
    kwh = summary.get("kwh")
    if kwh is not None:
        out.append(("Energy", f"{number(1000 * kwh)} Wh ({summary.get('kwh_method') or 'method not stated'})"))
    return out


def described(data: dict[str, Any]) -> list[tuple[str, str]]:
    """What it was trained on, or where its weights are from."""
    if data.get("path") is None:
        out = flat(dict(data.get("origin") or {}), "Weights: ")
    else:
        out = [
            ("Dataset", f"{data['path']}, version {data.get('version')}"),
            ("Digest", str(data.get("digest", ""))[:16]),
        ]
    if "items" in data:
        out.append(("Kept items", f"{data['items']:,} ({weight(data.get('bytes', 0))})"))
    if data.get("splits"):
        out.append(("Splits", ", ".join(f"{name} {n:,}" for name, n in data["splits"].items())))
    if data.get("licences"):
        counted = [name if n is None else f"{name}: {n:,}" for name, n in data["licences"].items()]
        out.append(("Licences", ", ".join(counted)))
    return out


def removed(run: Run) -> list[tuple[str, str, int]]:
    """What collect and clean left out: (status, reason, items), the most first."""
    counts: Counter[tuple[str, str]] = Counter()
    if run.data.get("path") is None:
        return []
    for batch in run.dataset().scan(["status", "reason"], "status <> 'kept'", batch=4096):
        counts.update((row["status"], row["reason"] or "no reason given") for row in batch.to_pylist())
    return [(status, reason, n) for (status, reason), n in counts.most_common()]


def lasting(seconds: float) -> str:
    """A duration for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def weight(size: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


def flat(data: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """A nested record as rows."""
    out = []
    for name, value in data.items():
        out += flat(value, f"{name} ") if isinstance(value, dict) else [(f"{before}{name}", str(value))]
    return out


def _read(run: Run, name: str) -> dict[str, Any]:
    path = run.path / name
    found: dict[str, Any] = files.read_json(path) if path.exists() else {}
    return found
