"""How well one number tells two sets apart: the area under the receiver operating characteristic.

    AUROC = P(odd > normal) + P(odd = normal) / 2

over all pairs (Mann and Whitney 1947): 0.5 is chance, and below it the number points the wrong way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genus.validate.findings import RESAMPLES

Floats = NDArray[np.float64]


def auroc(normal: Sequence[float] | Floats, odd: Sequence[float] | Floats) -> float:
    """Ties count half. NaN where a set is empty."""
    a, b = np.sort(np.asarray(normal, np.float64)), np.asarray(odd, np.float64)
    if not len(a) or not len(b):
        return math.nan
    below, upto = np.searchsorted(a, b, "left"), np.searchsorted(a, b, "right")
    return float((below + upto).mean() / (2 * len(a)))


def told_apart(
    normal: Sequence[float] | Floats, odd: Sequence[float] | Floats, seed: int = 0
) -> tuple[float, float, float]:
    """AUROC with its 95 % bootstrap interval, both sets drawn again. A set of one item: NaN bounds."""
    a, b = np.asarray(normal, np.float64), np.asarray(odd, np.float64)
    value = auroc(a, b)
    if min(len(a), len(b)) < 2:
        return value, math.nan, math.nan
    dice = np.random.default_rng(seed)
    drawn = [auroc(dice.choice(a, len(a)), dice.choice(b, len(b))) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return value, float(low), float(high)
