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
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from genus.parts import Part

if TYPE_CHECKING:
    from genus.validate.subject import Subject

Floats = NDArray[np.float64]
Better = Literal["lower", "higher"]
RESAMPLES = 1000


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One number. low, high: a 95 % interval, None where there is nothing to draw again. split: what it was measured on."""

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

    def within(self, interval: tuple[float, float]) -> Finding:
        """The same number with its interval."""
        return replace(self, low=interval[0], high=interval[1])


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
    """sum(top) / sum(bottom) over items, with its 95 % bootstrap interval: value, low, high. One item gives no interval."""
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


def jackknife(
    statistic: Callable[[Callable[[int], NDArray[np.bool_]]], float], value: float, groups: int = 10
) -> tuple[float, float]:
    """value ± t · se with one group of items left out at a time.

    statistic(keep): the statistic where `keep(n)` says which of n items are in; every set of items is thinned alike.
    """
    from scipy.stats import t

    left = []
    for g in range(groups):

        def keep(n: int, g: int = g) -> NDArray[np.bool_]:
            return np.arange(n) % groups != g

        left.append(statistic(keep))
    each = np.array(left)
    error = math.sqrt((groups - 1) / groups * float(((each - each.mean()) ** 2).sum()))
    reach = float(t.ppf(0.975, groups - 1)) * error
    return value - reach, value + reach
