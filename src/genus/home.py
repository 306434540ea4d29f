"""Where datasets and runs live, and how a name on the command line becomes one of them. Imports no torch."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from genus.errors import UsageError


def home(given: str | Path | None = None) -> Path:
    """`given`, else GENUS_HOME, else ~/.genus."""
    where = Path(given or os.environ.get("GENUS_HOME") or Path.home() / ".genus")
    try:
        return where.expanduser().absolute()
    except RuntimeError:
        raise UsageError(f"home {str(where)!r}: there is no such user; name a folder") from None


def dataset_path(name: str, base: Path) -> Path:
    """A dataset by its path or its name. Raises `UsageError` that lists what there is."""
    return _found(name, base / "datasets", "dataset", "_versions")


def run_path(name: str, base: Path) -> Path:
    """A run by its path or its name. Raises `UsageError` that lists what there is."""
    return _found(name, base / "runs", "run", "recipe.json")


def _found(name: str, shelf: Path, what: str, mark: str) -> Path:
    with suppress(OSError, RuntimeError):  # a name longer than any file's, or ~ of nobody
        for place in (Path(name).expanduser(), shelf / name):
            if (place / mark).exists():
                return place.absolute()
    there = sorted(p.parent.name for p in shelf.glob(f"*/{mark}"))
    known = f"there are: {', '.join(there[:12])}" if there else "there is none yet; make one with: genus make SOURCE"
    raise UsageError(f"there is no {what} {name!r} in {shelf}; {known}")
