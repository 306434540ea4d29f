"""Which items are odd for a run: four numbers an item, higher is odder, and how well each tells odd from usual.

    likelihood      bits: -log2 p over the cells of x or the bytes of a text
    typicality      |bits - mean bits of usual items|: an item may also be too likely (Nalisnick et al. 2019,
                    arXiv 1906.02994, for single items)
    complexity      bits less those of a lossless compressor (Serrà et al. 2019, arXiv 1909.11480)
    reconstruction  mean squared error of x led through its code, where the run has a trained autoencoder

Likelihood alone is known to rank simple items of another kind above usual ones (Nalisnick et al. 2018,
arXiv 1810.09136); where it does, that is said. Judges no run and decides on no threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from genus.core import Codec, Model, Nets
from genus.deploy.origins import medium, read
from genus.deploy.scores import Progress, gathered, measured, says
from genus.errors import NoLikelihood, UsageError
from genus.learned.codec import Coding, Learned
from genus.run import Run
from genus.validate import compressors
from genus.validate.ranks import told_apart
from genus.validate.subject import Subject

Floats = NDArray[np.float64]
FEW = 20  # items


@final
@dataclass(frozen=True)
class Told:
    """How well a score tells the two sets apart: its AUROC, and a 95 % interval; NaN bounds for a single item."""

    value: float
    low: float
    high: float

    def json(self) -> dict[str, float | None]:
        """{"value", "low", "high"}."""
        return {k: None if math.isnan(v) else v for k, v in vars(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.3f}" + ("" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]")


@final
@dataclass(frozen=True)
class Anomalies:
    """usual, odd: scores of either set by name, higher is odder. per: unit of the first three. says: what to know."""

    usual: Mapping[str, Floats]
    odd: Mapping[str, Floats]
    told: Mapping[str, Told]
    per: str
    says: tuple[str, ...]
    files: tuple[Path, ...] = ()

    def items(self) -> list[dict[str, Any]]:
        """{"file", "scores", "odder_than"} of each; odder_than: the share of usual items that are less odd."""
        found = []
        for i, file in enumerate(self.files):
            scores = {name: float(values[i]) for name, values in self.odd.items()}
            above = {name: float((self.usual[name] < score).mean()) for name, score in scores.items()}
            found.append({"file": str(file), "scores": scores, "odder_than": above})
        return found

    def json(self) -> dict[str, Any]:
        """{"items", "auroc", "per", "usual": {"items", "mean"}, "says"}."""
        first = next(iter(self.usual.values()))
        usual = {"items": len(first), "mean": {name: float(values.mean()) for name, values in self.usual.items()}}
        told = {name: found.json() for name, found in self.told.items()}
        return {"items": self.items(), "auroc": told, "per": self.per, "usual": usual, "says": list(self.says)}


def anomalies(
    run: Run,
    paths: Sequence[Path],
    usual: Sequence[Path] = (),
    n: int = 100,
    knobs: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Anomalies:
    """Files, or those of folders, beside usual ones; without `usual`, beside `n` held-out items of the run's data.

    knobs: of the likelihood. Raises `NoLikelihood` where the run has none of the scores, `UsageError` for a file that
    is not there or cannot be read, or if there is nothing usual.
    """
    if n < 1:
        raise UsageError(f"n = {n}: at least one usual item is needed")
    taken = gathered(run, paths)
    odd = [read(run, path) for path in taken]
    normal = [read(run, path) for path in gathered(run, usual)] if usual else held_out(run, n)
    found = compared(run, normal, odd, knobs, progress)
    return Anomalies(found.usual, found.odd, found.told, found.per, found.says, tuple(taken))


def held_out(run: Run, n: int) -> list[Any]:
    """Items of the run's data that no training step has read. Raises `UsageError` if they are not there."""
    try:
        return [record.media for record in Subject.of(run, n).held_out(n)]
    except UsageError as error:
        raise UsageError(f"{error}; or name usual items with --normal") from error


def compared(
    run: Run,
    usual: Sequence[Any],
    odd: Sequence[Any],
    knobs: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Anomalies:
    """Two sets of media. No usual item's own bits are in the mean that it is compared with."""
    if not usual or not odd:
        raise UsageError(f"{len(usual)} usual and {len(odd)} other items: at least one of each is needed")
    media, cut = [*usual, *odd], len(usual)
    notes: list[str] = []
    scores: dict[str, Floats] = {}
    per = ""
    try:
        seen = measured(run, media, knobs, progress)
    except NoLikelihood as error:
        notes.append(f"no likelihood: {error}")
    else:
        per = seen.per
        scores |= {"likelihood": seen.bits, "typicality": atypical(seen.bits, cut)}
        if run.model().codec.coded:
            notes.append("no complexity: the bits are those of a learned code, not of the item")
        else:
            scores["complexity"] = seen.bits - squeezed(run, media) / seen.cells * _unit(per)
        notes.append(f"likelihood: {says(seen.found)}")
    squared = rebuilt(run.model(), media)
    if squared is not None:
        scores["reconstruction"] = squared
    if not scores:
        raise NoLikelihood(f"{notes[0].removeprefix('no likelihood: ')}; nor has it an autoencoder to rebuild items")
    told = {name: Told(*told_apart(values[:cut], values[cut:])) for name, values in scores.items()}
    if min(cut, len(odd)) < FEW:
        notes.append(f"fewer than {FEW} items on a side: intervals are rough")
    first, second = ({name: values[part] for name, values in scores.items()} for part in (slice(cut), slice(cut, None)))
    return Anomalies(first, second, told, per, (*failure(told), *notes))


def atypical(bits: Floats, usual: int) -> Floats:
    """|bits - mean of the first `usual` ones|, each of these left out of its own mean (a single one: 0)."""
    total = bits[:usual].sum()
    mean = np.full(len(bits), total / usual)
    mean[:usual] = (total - bits[:usual]) / (usual - 1) if usual > 1 else bits[0]
    apart: Floats = np.abs(bits - mean)
    return apart


def squeezed(run: Run, media: Sequence[Any]) -> Floats:
    """Bits of each item, as the model sees it, in its medium's file or that file compressed, whichever is shorter."""
    write = medium(run).write
    return np.array([8.0 * compressors.shortest(write(item)) for item in run.model().codec.like(media)])


def rebuilt(model: Model, media: Sequence[Any], batch: int = 64) -> Floats | None:
    """Mean squared error of each x led through its code and back; None without a trained autoencoder."""
    if isinstance(model.objective, Coding):
        coding: tuple[Coding, Nets, Codec] = (model.objective, model.nets, model.codec)
    elif isinstance(model.codec, Learned):
        coding = (model.codec.objective, model.codec.model.nets, model.codec.model.codec)
    else:
        return None
    objective, nets, codec = coding
    found = []
    with torch.no_grad():
        for start in range(0, len(media), batch):
            x = torch.stack([codec.lift(stored) for stored in codec.encode(media[start : start + batch])]).float()
            again = objective.read(nets, objective.code(nets, x))
            found.append((x - again).square().flatten(1).mean(1).double())
    squared: Floats = torch.cat(found).numpy()
    return squared


def failure(told: Mapping[str, Told]) -> tuple[str, ...]:
    """A sentence where likelihood points the wrong way, and what else tells the sets apart."""
    found = told.get("likelihood")
    if found is None or found.value >= 0.5:
        return ()
    best = max((name for name in told if name != "likelihood"), key=lambda name: told[name].value)
    if told[best].value > 0.5:
        instead = f"here {best} tells them apart best, {told[best]}"
    else:
        instead = "here no other score tells them apart either"
    surely = "finds" if found.high < 0.5 else "seems to find"
    return (
        f"likelihood fails: the model {surely} these items likelier than usual ones (AUROC {found}; 0.5 is chance), as "
        "is known of items simpler than the data (Nalisnick et al. 2018, arXiv 1810.09136); do not call an item usual "
        f"because it is likely; {instead}",
    )


def _unit(per: str) -> float:
    """Of a compressor's bits, in the unit of the likelihood."""
    return 1.0 if per.startswith("bits") else math.log(2)
