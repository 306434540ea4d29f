"""The stage `deploy`: a run that passed its gate is published, one that did not is refused with the reasons.

Published means two more files in the run's folder: `card.md`, the model card, and `deployed.json`, which ties the
decision to the exact weights by their sha256. Not here: the gate itself (`genus.validate`), the server (`server`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from genus import files
from genus.deploy import card, samples
from genus.errors import GenusError, UsageError
from genus.run import Run


@final
@dataclass(frozen=True)
class Published:
    """card, deployed: the files written. forced: the gate did not pass, for these reasons, and was overridden."""

    run: Path
    card: Path
    deployed: Path
    forced: bool
    reasons: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """One object."""
        paths = {"run": str(self.run), "card": str(self.card), "deployed": True, "evidence": str(self.deployed)}
        return {**paths, "forced": self.forced, "reasons": list(self.reasons)}


def report(run: Run) -> dict[str, Any]:
    """report.json, or {} if the run was never validated. Raises `GenusError` if it is damaged."""
    path = run.path / "report.json"
    if not path.is_file():
        return {}
    found = files.read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("gate"), dict):
        raise GenusError(f"{path} is no report: it has no gate; write it again with: genus validate {run.name}")
    return found


def objections(run: Run) -> tuple[str, ...]:
    """Why this run should not be published; empty if its gate passed. Raises `UsageError` if it is not finished."""
    if not run.finished:
        raise UsageError(f"run {run.name!r} has not finished training; run the same `genus train` again to resume")
    found = report(run)
    if not found:
        return (f"it was never validated; do so with: genus validate {run.name}",)
    judged = found.get("weights_sha256")
    if judged is not None and judged != files.sha256(run.path / "model.safetensors"):
        return (f"its report is about other weights; judge these with: genus validate {run.name}",)
    gate = found["gate"]
    if gate.get("passed") is True:
        return ()
    return tuple(map(str, gate.get("reasons") or ())) or ("the gate did not pass and gives no reason",)


def admit(run: Run) -> None:
    """Raises `GenusError` unless this run passed its gate, or these very weights were published."""
    evidence = run.path / "deployed.json"
    if run.finished and evidence.is_file():
        said = files.read_json(evidence)
        if isinstance(said, dict) and said.get("weights_sha256") == files.sha256(run.path / "model.safetensors"):
            return
    _refuse(run, objections(run))


def publish(run: Run, force: bool = False) -> Published:
    """Write card.md and deployed.json. Raises `GenusError` with the gate's reasons, unless it passed or `force`."""
    reasons = objections(run)
    if not force:
        _refuse(run, reasons)
    by = samples.maker(run)
    found = report(run)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    page = files.write(run.path / "card.md", card.write(run, by, found, reasons, when))
    evidence = {
        "run": run.name,
        "genus": by.genus,
        "time": when,
        "weights_sha256": by.weights_sha256,
        "config_sha256": by.config_sha256,
        "vocabulary_sha256": by.vocabulary_sha256,
        "report_sha256": files.sha256(run.path / "report.json") if found else None,
        "card_sha256": files.sha256(page),
        "data": dict(by.data),
        "forced": bool(reasons),
        "gate": {"passed": not reasons, "reasons": list(reasons)},
    }
    # Last: where this stands, all that it speaks of is whole.
    deployed = files.write_json(run.path / "deployed.json", evidence)
    return Published(run.path, page, deployed, bool(reasons), reasons)


def _refuse(run: Run, reasons: tuple[str, ...]) -> None:
    if reasons:
        said = "; ".join(reasons)
        raise GenusError(f"run {run.name!r} is not fit to be deployed: {said}. To publish it all the same: --force")
