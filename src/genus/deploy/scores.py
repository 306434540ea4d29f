"""Files -> how likely a run finds them, in bits per byte of text or per dimension of all else. Judges no run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from genus.deploy.samples import medium
from genus.errors import GenusError, UsageError
from genus.media import Damaged
from genus.run import Run
from genus.validate.likelihood import coarser


@final
@dataclass(frozen=True)
class Scores:
    """items: {"file", "nats", "bits", "per", "error"}, in the order asked. says: exact, or a bound or an estimate."""

    items: list[dict[str, Any]]
    says: str

    def json(self) -> dict[str, Any]:
        """{"items": [...], "says": ...}."""
        return {"items": self.items, "says": self.says}


def score(run: Run, paths: Sequence[Path]) -> Scores:
    """log p of each file under the run, no condition given.

    nats: log p, of a probability where x is discrete or has a grain, else of a density. bits: -log2 p over the bytes of
    a text or the cells of x. error: standard error of nats where p is estimated. Raises `NoLikelihood` where the family
    has none, `UsageError` for a file that is not there, `GenusError` for one that cannot be read.
    """
    kind = medium(run)
    media = [_read(kind, path) for path in paths]
    found = run.log_prob(media)
    space = run.model().space
    counted = space.vocab is not None or space.grain is not None
    items = []
    for i, (path, item) in enumerate(zip(paths, media, strict=True)):
        text = isinstance(item, str)
        size = max(1, len(item.encode())) if text else space.cells
        nats = float(found.nats[i])
        cell = "code" if run.model().codec.coded else "dimension"
        unit = "bits/byte" if text else f"bits/{cell}{coarser(space)}" if counted else f"nats/{cell}, of a density"
        each = -nats / size / (math.log(2) if text or counted else 1.0)
        error = None if found.error is None else float(found.error[i])
        items.append({"file": str(path), "nats": nats, "bits": each, "per": unit, "error": error})
    return Scores(items, "exact" if found.exact else "a bound or an estimate: the model may find it likelier")


def _read(kind: Any, path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"{path} is no file; name files of the kind the run learned")
    try:
        return kind.read(path.read_bytes())
    except Damaged as error:
        raise GenusError(f"{path} cannot be read: {error}; give a whole file of the kind the run learned") from error
