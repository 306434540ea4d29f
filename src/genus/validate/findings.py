"""What measures say: numbers with their intervals, and pictures for the page. Intervals by bootstrap and jackknife.

A finding is one number of report.json; a figure is one block of report.html. Whether a number is the model's or a
baseline's is said by the list it stands in. Not here: any particular measure.

Bootstrap: Efron 1979; percentile intervals. Jackknife over groups: Efron and Tibshirani 1993, chapter 11. The second is
for statistics such as a Fréchet distance, where drawing an item twice narrows the covariance and so moves the value.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from genus.parts import Part

if TYPE_CHECKING:
    from genus.validate.subject import Subject

Floats = NDArray[np.float64]
Better = Literal["lower", "higher"]
RESAMPLES = 1000
GROUPS = 10
#: Which of n items are in.
Keep = Callable[[int], NDArray[np.bool_]]


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One number. low, high: a 95 % interval, None where nothing can be drawn again. split: what it was measured on."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    better: Better = "lower"
    split: str = "test"

    def json(self) -> dict[str, Any]:
        """The issue's names; a number that is not finite becomes null, as JSON has no other word for it."""

        def plain(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        return {name: plain(value) for name, value in asdict(self).items()}


@final
@dataclass(frozen=True, slots=True)
class Figure:
    """A block of the page. html: trusted markup, made here; all that comes from data in it is already escaped."""

    title: str
    caption: str
    html: str


@final
@dataclass(frozen=True, slots=True)
class Result:
    """What one measure found. notes: what it could not measure, and why, in words."""

    metrics: tuple[Finding, ...] = ()
    baselines: tuple[Finding, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()


class Measure(Part, ABC):
    """One way to look at a model. Knows media, never a family."""

    @abstractmethod
    def __call__(self, subject: Subject) -> Result:
        """Measure it. What cannot be measured is a note, not a NaN."""


def ratio(top: Sequence[float] | Floats, bottom: Sequence[float] | Floats, seed: int = 0) -> tuple[float, float, float]:
    """sum(top) / sum(bottom) over items with its 95 % bootstrap interval: value, low, high. One item: NaN bounds."""
    a, b = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    value = float(a.sum() / b.sum()) if b.sum() else math.nan
    if len(a) < 2:
        return value, math.nan, math.nan
    rng = np.random.default_rng(seed)
    drawn = np.empty(RESAMPLES)
    step = max(1, 4_000_000 // len(a))  # so that memory does not grow with the number of items
    for start in range(0, RESAMPLES, step):
        pick = rng.integers(0, len(a), (min(step, RESAMPLES - start), len(a)))
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn[start : start + len(pick)] = a[pick].sum(1) / b[pick].sum(1)
    low, high = np.nanquantile(drawn, (0.025, 0.975)) if np.isfinite(drawn).any() else (math.nan, math.nan)
    return value, float(low), float(high)


def share(hits: Sequence[bool] | NDArray[Any], seed: int = 0) -> tuple[float, float, float]:
    """A mean over items with its bootstrap interval."""
    values = np.asarray(hits, np.float64)
    return ratio(values, np.ones_like(values), seed)


def left_out(statistic: Callable[[Keep], float], groups: int = GROUPS) -> Floats:
    """The statistic without each group of items in turn, [groups]; every set it reads is thinned alike."""
    return np.array([statistic(partial(_without, g, groups)) for g in range(groups)])


def _without(group: int, groups: int, n: int) -> NDArray[np.bool_]:
    kept: NDArray[np.bool_] = np.arange(n) % groups != group
    return kept


def around(value: float, left: Floats) -> tuple[float, float, float]:
    """value, and value ± t · se, where se is the jackknife's from `left_out`."""
    from scipy.stats import t

    groups = len(left)
    error = math.sqrt((groups - 1) / groups * float(((left - left.mean()) ** 2).sum()))
    reach = float(t.ppf(0.975, groups - 1)) * error
    return value, value - reach, value + reach
