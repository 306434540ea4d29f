"""Training state on disk: whole or not there, the last two kept.

    checkpoints/step-N/state.safetensors   every tensor the loop needs to go on, bit for bit
    checkpoints/step-N/state.json          step, time used, best evaluation, digest of the tensors

A folder is filled under a temporary name, synced and renamed. One that does not match its digest is passed over, so a
torn write costs one interval, not the run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from genus import files
from genus.errors import GenusError

KEPT = 2


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
    """Write step-N and drop all but the last two. Raises `GenusError` on a full disk; what was there stays."""
    target = folder / f"step-{step}"
    part = folder / f".step-{step}.{os.getpid()}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part / "state.safetensors")
        with (part / "state.safetensors").open("rb") as file:
            os.fsync(file.fileno())
        digest = files.sha256(part / "state.safetensors")
        files.write_json(part / "state.json", {"step": step, "sha256": digest, **facts})
        shutil.rmtree(target, ignore_errors=True)
        os.replace(part, target)
    except Exception as error:  # safetensors reports a full disk as its own error
        shutil.rmtree(part, ignore_errors=True)
        raise GenusError(f"cannot write checkpoint {target}: {error}; free some space") from error
    for old in steps(folder)[:-KEPT]:
        shutil.rmtree(folder / f"step-{old}", ignore_errors=True)
    return target


def steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint, ascending."""
    found = (p.name.removeprefix("step-") for p in folder.glob("step-*"))
    return sorted(int(name) for name in found if name.isdigit())


def latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """(tensors, facts) of the newest whole checkpoint, or None. Torn ones and leftovers of a kill are removed."""
    for stale in folder.glob(".step-*.part"):
        shutil.rmtree(stale, ignore_errors=True)
    for step in reversed(steps(folder)):
        place = folder / f"step-{step}"
        try:
            facts = files.read_json(place / "state.json")
            if files.sha256(place / "state.safetensors") == facts["sha256"]:
                return load_file(place / "state.safetensors"), facts
        except (GenusError, OSError, KeyError, TypeError):
            pass
        shutil.rmtree(place, ignore_errors=True)  # else it would count as one of the last two
    return None
