"""What there is: the home, a run, a dataset, this machine. For `genus info` and `genus doctor`."""

from __future__ import annotations

import importlib.metadata as metadata
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from genus import home as homes
from genus.errors import UsageError


def everything(home: Path | None) -> dict[str, Any]:
    """Names of all datasets, runs and comparisons."""
    base = homes.home(home)
    return {
        "home": str(base),
        "datasets": sorted(p.parent.name for p in (base / "datasets").glob("*/_versions")),
        "runs": sorted(p.parent.name for p in (base / "runs").glob("*/recipe.json")),
        "comparisons": sorted(p.parent.name for p in (base / "comparisons").glob("*/asked.json")),
    }


def about(name: str, home: Path | None) -> dict[str, Any]:
    """A run, a dataset, or both where both have the name. Raises `UsageError` if neither does."""
    base = homes.home(home)
    said: dict[str, Any] = {}
    for what, find, tell in (("run", homes.run_path, _run), ("dataset", homes.dataset_path, _dataset)):
        try:
            said[what] = tell(find(name, base))
        except UsageError as error:
            last = error
    if not said:
        raise last
    return said


def _run(path: Path) -> dict[str, Any]:
    from genus.run import Run

    run = Run(path)
    said: dict[str, Any] = {"path": str(path), "recipe": run.recipe.name, "finished": run.finished, **run.summary}
    said.pop("phases", None)
    said["deployed"] = (path / "deployed.json").exists()
    said["report"] = str(path / "report.html") if (path / "report.html").exists() else None
    if "origin" in run.data:
        said |= {"licences": list(map(str, run.data["licences"])), "origin": run.data["origin"]}
    return said


def _dataset(path: Path) -> dict[str, Any]:
    from genus.data.dataset import Dataset

    dataset = Dataset.open(path)
    tally: dict[str, dict[str, int]] = {name: {} for name in ("status", "reason", "medium", "split", "licence")}
    for batch in dataset.scan(list(tally), batch=4096):
        for row in batch.to_pylist():
            for name, counts in tally.items():
                if name == "status" or (row["status"] == "kept") == (name != "reason"):
                    key = row[name] or "unknown"
                    counts[key] = counts.get(key, 0) + 1
    return {"path": str(path), "version": dataset.version, **tally}


def examine(home: Path | None) -> dict[str, Any]:
    """What the machine has. `healthy`: all that genus needs is there."""
    import os
    import platform

    import psutil
    import torch

    from genus.networks import bytewise, packed, rowwise, selfattention
    from genus.train.meter import watts
    from genus.train.probe import bf16_gain, precision

    base = homes.home(home)
    place = next(p for p in (base, *base.parents) if p.exists())
    missing = []
    for requirement in metadata.requires("genus") or () if _installed() else ():
        name = requirement.split(";")[0].split(">")[0].split("=")[0].split("<")[0].strip()
        if "extra ==" not in requirement and not _has(name):
            missing.append(name)
    free = shutil.disk_usage(place).free
    compiler = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    writable = os.access(place, os.W_OK)
    kernels: dict[str, Callable[[], Any]] = {
        "training by bytes": bytewise.kernel,
        "rows": rowwise.kernel,
        "self-attention": selfattention.kernel,
        "packed weights": packed.kernel,
    }
    return {
        "healthy": not missing and writable and free > 1 << 30,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "device": "cpu (accelerators are not used yet)",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16_gain": round(bf16_gain(), 2),
        "precision": "bf16" if precision("auto") is torch.bfloat16 else "fp32",
        "compiler": compiler or "none: models run uncompiled",
        "kernels": [name for name, kernel in kernels.items() if kernel() is not None],
        "energy": watts()[1],
        "home": str(base),
        "home_writable": writable,
        "disk_free_gib": round(free / 2**30, 1),
        "missing": missing,
    }


def _installed() -> bool:
    return _has("genus")


def _has(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def lines(said: dict[str, Any], indent: int = 0) -> Iterator[str]:
    """A result object as text, a field a line."""
    wide = max([16, *(len(name) for name, value in said.items() if not isinstance(value, dict))]) + 2
    for name, value in said.items():
        if isinstance(value, dict):
            yield " " * indent + name
            yield from lines(value, indent + 2)
        else:
            shown = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
            yield " " * indent + f"{name:{wide - indent}}{shown}"
