"""Files -> how likely a run finds them, in bits per byte of text or per dimension of all else. Judges no run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from genus.core import LogProb
from genus.deploy.origins import medium, read
from genus.errors import UsageError
from genus.media import HEAD
from genus.run import Run
from genus.validate.likelihood import coarser

Progress = Callable[[float, float | None], object]


@final
@dataclass(frozen=True)
class Measured:
    """found: nats. cells: what each item's are divided by. bits: -log2 p over them; per: the unit, which says else."""

    found: LogProb
    cells: NDArray[np.float64]
    bits: NDArray[np.float64]
    per: str


@final
@dataclass(frozen=True)
class Scores:
    """items: {"file", "nats", "bits", "per", "error"}, in order. kind: exact, bound or estimate; says: in a line."""

    items: list[dict[str, Any]]
    kind: str
    says: str

    def json(self) -> dict[str, Any]:
        """{"items": [...], "kind": ..., "says": ...}."""
        return {"items": self.items, "kind": self.kind, "says": self.says}


def score(
    run: Run, paths: Sequence[Path], knobs: Mapping[str, Any] | None = None, progress: Progress | None = None
) -> Scores:
    """log p of each file, or file of a folder, under the run; no condition given.

    nats: log p, of a probability where x is discrete or has a grain, else of a density. bits: -log2 p over the bytes of
    a text or the cells of x. error: standard error of nats where p is estimated. knobs: the objective's own; what they
    leave out is as it was trained, but for draws enough to tell the error. Raises `NoLikelihood` where the family has
    none, `UsageError` for a file that is not there or cannot be read.
    """
    taken = gathered(run, paths)
    knobs = {**run.model().objective.singly, **(knobs or {})}
    seen = measured(run, [read(run, path) for path in taken], knobs, progress)
    found, items = seen.found, []
    for i, path in enumerate(taken):
        error = None if found.error is None else float(found.error[i])
        said = {"nats": float(found.nats[i]), "bits": float(seen.bits[i]), "per": seen.per, "error": error}
        items.append({"file": str(path), **said})
    coded = "; of the learned code of an item, not of the item" if run.model().codec.coded else ""
    return Scores(items, found.kind, says(found) + coded)


def measured(
    run: Run, media: Sequence[Any], knobs: Mapping[str, Any] | None = None, progress: Progress | None = None
) -> Measured:
    """The likelihood of items, and what it is divided by. Raises `NoLikelihood` with the reason."""
    found = run.log_prob(media, progress=progress, **(knobs or {}))
    space, codec = run.model().space, run.model().codec
    texts = all(isinstance(item, str) for item in media)
    cells = [max(1, len(item.encode("utf-8", "replace"))) if texts else space.cells for item in media]
    counted = texts or space.vocab is not None or space.grain is not None
    cell = "byte" if texts else "code" if codec.coded else "dimension"
    each = np.array(cells, np.float64)
    bits = -found.nats.numpy() / each / (math.log(2) if counted else 1.0)
    return Measured(found, each, bits, f"bits/{cell}{coarser(space)}" if counted else f"nats/{cell}, of a density")


def says(found: LogProb) -> str:
    """What a likelihood is worth, in a line."""
    if found.exact:
        return "exact"
    known = "its standard error is given" if found.error is not None else "a single draw, so its error is unknown"
    if found.bound:
        return f"a lower bound on log p, so the model may find it likelier; {known}"
    return f"an estimate of log p; {known}"


def gathered(run: Run, paths: Sequence[Path]) -> list[Path]:
    """Files as they are named, and those of the run's medium in folders, by name. Raises `UsageError` for none."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [file for file in sorted(path.rglob("*")) if file.is_file() and _claimed(run, file)]
        if not inside:
            raise UsageError(
                f"{path} holds no {run.medium}, which is what run {run.name!r} learned; name another folder"
            )
        found += inside
    return found


def _claimed(run: Run, path: Path) -> bool:
    with path.open("rb") as file:
        return medium(run).claims(file.read(HEAD), path.name)
