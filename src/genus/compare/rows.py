"""From the runs of a comparison to a row a recipe: each number with its least and most over the seeds.

One seed has no least and most: its numbers have the interval of that run's report, over its items, where there is one.
A row has every name that any of its runs reports, and always those of `ALWAYS`; where a recipe has no such number,
value, low and high are null and `reason` says why. Pure functions on what `genus.compare.work` found.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

#: What a measure calls it -> what a comparison does.
RENAMED = {"copies": "memorised"}
#: Neither more nor less of it is better: noise is far from every item, and so is what is new.
NEUTRAL = ("nearest_item", "longest_copy")
LIKELIHOODS = ("bits_per_byte", "bits_per_dimension", "nats_per_dimension")
#: name -> (unit, which is better), of what comes from no report.
COSTS = {
    "kwh": ("kWh of training", "lower"),
    "seconds": ("s of training", "lower"),
    "steps": ("steps of training", ""),
    "parameters": ("weights", "lower"),
    "peak_bytes": ("bytes", "lower"),
}
DRAWING = {
    "samples_per_second": ("samples/s", "higher"),
    "seconds_per_sample": ("s for one alone", "lower"),
    "passes": ("passes a sample", "lower"),
    "positions": ("places of a sample", ""),
    "tokens_per_second": ("tokens/s", "higher"),
    "sharpness": ("of held-out pictures", ""),
    "walk": ("largest step over the mean one", "lower"),
}
FIDELITY = ("recall", "precision", "density", "coverage")
ALWAYS = (*FIDELITY, "memorised", "samples_per_second", "seconds_per_sample", "kwh")


Span = tuple[float | None, float | None]  # an interval, if there is one


def spread(values: Sequence[float], unit: str = "", better: str = "", own: Span = (None, None)) -> Json:
    """The mean over seeds, the least and the most; of one seed its own interval."""
    low, high = own if len(values) == 1 else (None, None)
    return {
        "value": statistics.fmean(values),
        "low": min(values) if low is None else low,
        "high": max(values) if high is None else high,
        "each": list(values),
        "unit": unit,
        "better": better,
    }


def absent(reason: str) -> Json:
    """A number that there is not."""
    return {"value": None, "low": None, "high": None, "each": [], "unit": "", "better": "", "reason": reason}


def row(recipe: Mapping[str, Any], runs: Sequence[Json], failures: Mapping[int, str], seeds: int) -> Json:
    """One recipe. recipe: name, family, about. runs: its finished ones. failures: seed -> why it has none."""
    status = "done" if len(runs) == seeds else "partial" if runs else "failed" if failures else "waiting"
    said: Json = {
        **recipe,
        "status": status,
        "reasons": [f"seed {seed}: {why}" for seed, why in sorted(failures.items())],
        "seeds": [run["seed"] for run in runs],
        "runs": [run["run"] for run in runs],
        "gate": {
            "passed": sum(run["gate"]["passed"] for run in runs),
            "of": len(runs),
            "reasons": sorted({reason for run in runs for reason in run["gate"]["reasons"]}),
        },
    }
    values: dict[str, list[float]] = {}
    facts: dict[str, tuple[str, str, Span]] = {}

    def take(name: str, value: Any, unit: str, better: str, own: Span = (None, None)) -> None:
        if isinstance(value, int | float) and math.isfinite(value):
            values.setdefault(name, []).append(float(value))
            facts[name] = (unit, better, own)

    for run in runs:
        for metric in run["metrics"]:
            name = RENAMED.get(metric["name"], metric["name"])
            better = "" if name in NEUTRAL else metric["better"]
            take(name, metric["value"], metric["unit"], better, (metric["low"], metric["high"]))
        for group, known in (("cost", COSTS), ("drawing", DRAWING)):
            for name, (unit, better) in known.items():
                take(name, run[group].get(name), unit, better)
    said |= {name: spread(found, *facts[name]) for name, found in values.items()}
    notes = " ".join(runs[0]["notes"]) if runs else ""
    for name in dict.fromkeys((*ALWAYS, *COSTS, *DRAWING)):
        if name not in said:
            said[name] = absent(_why(name, runs, failures, notes))
    said["likelihood"] = _likelihood(said, runs, failures)
    said["ladder"] = next((run["drawing"]["ladder"] for run in runs if run["drawing"]["ladder"]), [])
    said["ladder_note"] = next((run["drawing"]["reasons"].get("ladder", "") for run in runs), "")
    said["makes"] = runs[0]["makes"] if runs else None
    return said


def _why(name: str, runs: Sequence[Json], failures: Mapping[int, str], notes: str) -> str:
    if not runs:
        return "no run was finished" if failures else "not yet run"
    own: str = runs[0]["drawing"]["reasons"].get(name, "")
    if own:
        return own
    if runs[0]["makes"] == "text":
        return "measured on pictures alone"
    if name in FIDELITY and "No fidelity: " in notes:
        return notes.partition("No fidelity: ")[2].partition(". ")[0].rstrip(".")
    return "this recipe's measures do not say"


def _likelihood(said: Json, runs: Sequence[Json], failures: Mapping[int, str]) -> Json:
    """The number of this recipe that is one, under its name; else the reason."""
    for name in LIKELIHOODS:
        if name in said:
            bound = any("likelihood is a bound" in note for run in runs for note in run["notes"])
            return {**said[name], "name": name, "exact": not bound}
    told = next((n.removeprefix("No likelihood: ") for run in runs for n in run["notes"] if "No likelihood" in n), "")
    return {**absent(told or _why("likelihood", runs, failures, "")), "name": None, "exact": None}


def baselines(runs: Sequence[Json]) -> dict[str, Json]:
    """Name -> the spread over all runs; they measure the same data, so it is narrow where their pictures are alike."""
    found: dict[str, list[Json]] = {}
    for run in runs:
        for b in run["baselines"]:
            metric, _, who = b["name"].partition("/")
            if b["value"] is not None:
                found.setdefault(f"{RENAMED.get(metric, metric)}/{who}", []).append(b)
    return {
        name: spread([b["value"] for b in bs], bs[0]["unit"], bs[0]["better"], (bs[0]["low"], bs[0]["high"]))
        for name, bs in found.items()
    }


def judged_by(rows: Sequence[Json]) -> str | None:
    """The number that all finished rows share and that says most of their samples or of their predictions."""
    finished = [r for r in rows if r["seeds"]]
    frechet = [name for r in finished for name in r if name.startswith("frechet_")]
    for name in ("gap_closed", *frechet, "bits_per_byte", "bits_per_dimension"):
        if finished and all(r.get(name, {}).get("value") is not None for r in finished):
            return name
    return None


def ranked(rows: Sequence[Json], name: str) -> list[Json]:
    """Rows that have this number, the best first."""
    have = [r for r in rows if isinstance(r.get(name), dict) and r[name].get("value") is not None]
    return sorted(have, key=lambda r: -r[name]["value"] if r[name]["better"] == "higher" else r[name]["value"])


def apart(a: Json, b: Json) -> bool:
    """Whether two numbers' ranges over seeds do not meet; from one seed each, never."""
    both = len(a["each"]) > 1 and len(b["each"]) > 1
    return both and (a["low"] > b["high"] or b["low"] > a["high"])
