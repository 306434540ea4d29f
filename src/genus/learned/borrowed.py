"""What the parts of this room share: an earlier phase's model, found by the phase's name and read from its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from genus.core import Model
from genus.errors import UsageError
from genus.recipe import Phase
from genus.run import load_model

CALIBRATED = 512  # items, at most, that a calibration looks at
HELD = 4  # models that stay in memory, for parts that are built again and again


def told(kind: str, phase: str, earlier: Mapping[str, Path]) -> str:
    """The folder of a phase's model. Raises `UsageError` if no phase before this one has that name."""
    if phase not in earlier:
        known = ", ".join(earlier) or "none"
        raise UsageError(
            f"{kind} takes the model of phase {phase!r}; phases before this one: {known}; name a run that was trained "
            f"for it with --given {phase}=RUN"
        )
    return str(earlier[phase])


def lent(place: str | Path) -> tuple[Model, Phase]:
    """The model in a folder, to be read and never to be trained. Raises as `genus.run.load_model` does."""
    config = Path(place).absolute() / "config.json"
    return _lent(config.parent, config.stat().st_mtime_ns if config.is_file() else 0)


@lru_cache(maxsize=HELD)
def _lent(place: Path, written: int) -> tuple[Model, Phase]:
    return load_model(place)


def fingerprint(model: Model) -> str:
    """Of the weights: what tells two models of one configuration apart."""
    digest = hashlib.sha256()
    for name, value in sorted(model.nets.state_dict().items()):
        digest.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def calibration(groups: Iterable[Sequence[Tensor]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of many [C, *dims]: what brings them to mean 0 and deviation 1."""
    x = torch.cat([torch.stack(list(group)).float() for group in groups])
    cells = x.movedim(1, 0).flatten(1)
    return tuple(cells.mean(1).tolist()), tuple(cells.std(1).clamp(min=1e-4).tolist())
