"""How loss falls with size, data or compute: a law fitted to small runs, and what it says of a larger one.

    L(x) = E + sum over k of a_k / x_k^e_k,   E, a_k >= 0                Hoffmann et al. 2022, arXiv 2203.15556, eq. 2

x is compute alone, or weights and data. For given exponents the rest is a least-squares problem that is solved exactly,
so a fit is a search over exponents alone, which has no start to choose (Besiroglu et al. 2024, arXiv 2404.10102, tell
what a search that ends too early costs). Errors are relative. Knows no model and no run.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from genus.errors import UsageError

Floats = NDArray[np.float64]
RANGE = (0.02, 1.5)  # of exponents
ROUNDS = 6  # of the search, each in a range a third as wide
LEAST_SPREAD = 0.001  # relative: two runs of one size differ by so much at least, whatever a few of them say


def effective(tokens: float, different: float, repeat: float) -> float:
    """Tokens seen, as new ones count: repeated ones are worth less and less (Muennighoff et al. 2023, arXiv
    2305.16264).
    """
    new = max(1.0, different)
    return tokens if tokens <= new else new * (1 + repeat * (1 - math.exp(-(tokens / new - 1) / repeat)))


@final
@dataclass(frozen=True)
class Law:
    """floor: E. terms: (a, e) of each column."""

    floor: float
    terms: tuple[tuple[float, float], ...]

    def __call__(self, x: Floats) -> Floats:
        """Loss [n] of x [n, columns]."""
        said = [a / x[:, k] ** e for k, (a, e) in enumerate(self.terms)]
        return np.asarray(self.floor + sum(said), np.float64)


@final
@dataclass(frozen=True)
class Forecast:
    """What a law says of one point: a value, and bounds of a 95 % interval for the loss of one run there.

    spread: relative, of runs about the law. law: fitted to the runs as they were.
    """

    value: float
    low: float
    high: float
    spread: float
    law: Law


def fitted(x: Floats, loss: Floats) -> Law:
    """The law of least relative error. x: [n, columns] > 0. Raises `UsageError` for fewer runs than it has numbers."""
    n, columns = x.shape
    if n < 2 + columns:
        raise UsageError(f"{n} runs do not fix a law of {1 + 2 * columns} numbers; train {2 + columns} at least")
    middle = np.exp(np.log(x).mean(0))
    low, high = (np.full(columns, math.log(end)) for end in RANGE)
    best = (math.inf, np.zeros(columns), np.zeros(columns + 1))
    points = 25 if columns == 1 else 9
    for _ in range(ROUNDS):
        axes = [np.linspace(a, b, points) for a, b in zip(low, high, strict=True)]
        logs = np.array(list(itertools.product(*axes)))
        errors, found = _solved(x / middle, loss, np.exp(logs))
        least = int(errors.argmin())
        if errors[least] < best[0]:
            best = (float(errors[least]), logs[least], found[least])
        reach = (high - low) / 6
        low, high = (np.clip(best[1] + side * reach, *np.log(RANGE)) for side in (-1, 1))
    exponents = np.exp(best[1])
    scale = best[2][1:] * middle**exponents
    return Law(float(best[2][0]), tuple((float(a), float(e)) for a, e in zip(scale, exponents, strict=True)))


def _solved(x: Floats, loss: Floats, exponents: Floats) -> tuple[Floats, Floats]:
    """Of exponents [m, columns]: squared relative errors [m] and [E, a_1, ...], [m, 1 + columns], none below zero.

    Least squares of every set of columns; of those without a negative number the best.
    """
    m, width = len(exponents), 1 + x.shape[1]
    powers = x[None] ** -exponents[:, None]  # [m, n, columns]
    base = np.concatenate([np.ones((m, len(x), 1)), powers], 2) / loss[:, None]
    best, found = np.full(m, math.inf), np.zeros((m, width))
    for size in range(1, width + 1):
        for some in itertools.combinations(range(width), size):
            part = base[:, :, some]
            square = np.swapaxes(part, 1, 2) @ part + 1e-13 * np.eye(size)
            said = np.linalg.solve(square, part.sum(1)[..., None])[..., 0]
            error = ((np.einsum("mns,ms->mn", part, said) - 1) ** 2).sum(1)
            better = (said >= 0).all(1) & (error < best)
            best = np.where(better, error, best)
            whole = np.zeros((m, width))
            whole[:, some] = said
            found = np.where(better[:, None], whole, found)
    return best, found


def forecast(
    x: Floats, loss: Floats, at: Sequence[float], groups: Sequence[int] | None = None, draws: int = 300, seed: int = 0
) -> Forecast:
    """The loss of a run at `at`, by a parametric bootstrap: runs are moved as far as runs differ, and fitted again.

    groups: which runs are of one point (seeds); None: all apart. How far runs differ is read off the seeds and off the
    residuals, each by its degrees of freedom, and drawn anew each time as uncertain as these leave it (Student).
    """
    law, point = fitted(x, loss), np.asarray(at, np.float64)[None]
    names = np.arange(len(loss)) if groups is None else np.asarray(groups)
    kinds = np.unique(names)
    means = np.array([loss[names == kind].mean() for kind in kinds])
    own = np.array([law(x)[names == kind].mean() for kind in kinds])
    counts = np.array([(names == kind).sum() for kind in kinds])
    within = sum(float(((loss[names == kind] / mean - 1) ** 2).sum()) for kind, mean in zip(kinds, means, strict=True))
    between = float((counts * (means / own - 1) ** 2).sum())
    free = max(0, len(kinds) - 1 - 2 * x.shape[1]) + len(loss) - len(kinds)
    squares = within + between
    spread = max(LEAST_SPREAD, math.sqrt(squares / max(1, free)))
    rng = np.random.default_rng(seed)
    found = np.empty(draws)
    for i in range(draws):
        s = spread * math.sqrt(max(1, free) / rng.chisquare(max(1, free)))
        moved = law(x) * np.exp(s * rng.standard_normal(len(loss)))
        found[i] = fitted(x, moved)(point)[0] * math.exp(s * rng.standard_normal())
    low, high = np.quantile(found, (0.025, 0.975))
    return Forecast(float(law(point)[0]), float(low), float(high), spread, law)
