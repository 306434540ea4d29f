"""validate(run): every measure of the recipe, the gate, and the two files that say it: report.json and report.html.

report.json is for scripts and for `deploy`, report.html for people; both are whole or not there, report.json last. Not
here: what is measured (one file a measure), how the page looks (`page`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from genus import files
from genus.errors import UsageError
from genus.run import Run
from genus.validate import page
from genus.validate.findings import Finding, Measure, Result
from genus.validate.gate import Gate
from genus.validate.subject import Subject
from genus.watch import Silent, Watch


@final
@dataclass(frozen=True)
class Report:
    """What was found. reasons: why the model should not be deployed; none if it passed."""

    run: Path
    result: Result
    reasons: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether `deploy` lets it through."""
        return not self.reasons

    def __getitem__(self, name: str) -> Finding:
        """A metric or a baseline by its name. Raises `UsageError` that lists the names."""
        known = {f.name: f for f in (*self.result.metrics, *self.result.baselines)}
        if name not in known:
            raise UsageError(f"the report has no {name!r}; it has: {', '.join(known)}")
        return known[name]

    def json(self) -> dict[str, Any]:
        """What report.json holds."""
        return {
            "metrics": [f.json() for f in self.result.metrics],
            "baselines": [f.json() for f in self.result.baselines],
            "gate": {"passed": self.passed, "reasons": list(self.reasons)},
            **self.facts,
            "notes": list(self.result.notes),
        }


def validate(run: Run, *, samples: int = 1000, watch: Watch | None = None, subject: Subject | None = None) -> Report:
    """Measure a finished run on what it never saw, and write report.json and report.html into its folder.

    samples: the most that any measure may draw. subject: of this run, where the caller measures more of it. Raises
    `UsageError` if the run is unfinished or holds nothing out.
    """
    watch = watch or Silent()
    if samples < 1:
        raise UsageError(f"samples = {samples}: it takes at least one")
    begun = time.monotonic()
    subject = subject or Subject.of(run, samples, watch)
    found: list[Result] = []
    for measure in run.recipe.measures:
        if not isinstance(measure, Measure):
            raise UsageError(f"{measure.kind} is no measure")
        found.append(measure(subject))
    result = Result(
        tuple(f for r in found for f in r.metrics),
        tuple(f for r in found for f in r.baselines),
        tuple(f for r in found for f in r.figures),
        tuple(n for r in found for n in r.notes),
    )
    report = Report(run.path, result, judged(run, result), facts(run, time.monotonic() - begun))
    files.write(run.path / "report.html", page.render(page.of(run, report)))
    files.write_json(run.path / "report.json", report.json())
    return report


def judged(run: Run, result: Result) -> tuple[str, ...]:
    """What the recipe's gate has against it."""
    gate = run.recipe.gate
    if not isinstance(gate, Gate):
        raise UsageError(f"{gate.kind} is no gate; a recipe's gate is a validate.gate")
    return gate(result.metrics, result.baselines)


def facts(run: Run, seconds: float) -> dict[str, Any]:
    """What it cost and what it is about, from the run's own records."""
    summary = run.summary
    return {
        "budget": {
            "asked_s": summary.get("asked_s"),
            "forecast_s": summary.get("forecast_s"),
            "used_s": summary.get("seconds"),
        },
        "energy": {"kwh": summary.get("kwh"), "method": summary.get("kwh_method")},
        "memory": {"peak_bytes": summary.get("peak_bytes")},
        "training": page.learning(run.metrics()),
        "validation_s": seconds,
        "weights_sha256": files.sha256(run.path / "model.safetensors"),
        "data": {name: run.data.get(name) for name in ("path", "version", "digest")},
    }
