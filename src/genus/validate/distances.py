"""Two sets of features, compared as distributions. Pure functions on arrays [items, features].

    Fréchet    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))      Heusel et al. 2017, arXiv 1706.08500
    kernel     unbiased MMD^2, k(x, y) = (x.y / d + 1)^3              Bińkowski et al. 2018, arXiv 1801.01401
    precision, recall         k-nearest balls                        Kynkäänniemi et al. 2019, arXiv 1904.06991
    density, coverage         the same, robust to outliers           Naeem et al. 2020, arXiv 2002.09797

A Fréchet distance is biased by the number of items: compare only distances of equal numbers, as gap closed does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from genus.errors import UsageError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def frechet(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Between Gaussians fitted to both sets; at least two items each, of equal width."""
    _check(a, b)
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    shift = x.mean(0) - y.mean(0)
    x, y = _root(x), _root(y)
    # S = X'X, so the eigenvalues of (S_a S_b)^(1/2) are the singular values of X Y': no matrix wider than the items.
    cross = x @ y.T
    if cross.shape[0] > cross.shape[1]:
        cross = cross.T
    both = np.sqrt(np.linalg.eigvalsh(cross @ cross.T).clip(0)).sum()
    return float(max(0.0, shift @ shift + (x * x).sum() + (y * y).sum() - 2 * both))


def _root(x: Floats) -> Floats:
    """R with R'R the covariance of x: at most as many rows as columns."""
    x = (x - x.mean(0)) / np.sqrt(len(x) - 1)
    if len(x) <= x.shape[1]:
        return x
    r = np.linalg.qr(x, "r")
    return np.asarray(r, np.float64)


def kernel(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Squared kernel distance, unbiased: near 0, and as often below it, for two sets of one distribution."""
    _check(a, b)
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    n, m, d = len(x), len(y), x.shape[1]

    def gram(u: Floats, v: Floats) -> Floats:
        out: Floats = (u @ v.T / d + 1) ** 3
        return out

    xx, yy = gram(x, x), gram(y, y)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * gram(x, y).mean())


def gap_closed(gaussian: float, model: float, real: float) -> float:
    """How far from the Gaussian fit (0) to real data (1); all three distances to the same held-out items."""
    return (gaussian - model) / (gaussian - real) if gaussian != real else float("nan")


@final
@dataclass(frozen=True, slots=True)
class Support:
    """Per item, so that a mean has an interval: precision and density [generated], recall and coverage [real]."""

    precision: Bools
    recall: Bools
    density: Floats
    coverage: Bools


def support(real: NDArray[np.floating], made: NDArray[np.floating], near: int = 3, dense: int = 5) -> Support:
    """near: k of precision and recall, dense: k of density and coverage, as in their papers. Fewer items: fewer k."""
    _check(real, made)
    between = pairwise(real, made)
    balls, made_balls = _radii(real, near), _radii(made, near)
    wide = _radii(real, dense)
    inside = between <= wide[:, None]
    return Support(
        precision=np.any(between <= balls[:, None], axis=0),
        recall=np.any(between <= made_balls[None, :], axis=1),
        density=inside.sum(0) / min(dense, len(real) - 1),
        coverage=np.any(inside, axis=1),
    )


def pairwise(a: NDArray[np.floating], b: NDArray[np.floating]) -> Floats:
    """Euclidean distances [len(a), len(b)]."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    square = (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * (x @ y.T)
    out: Floats = np.sqrt(square.clip(0))
    return out


def nearest(a: NDArray[np.floating], b: NDArray[np.floating], k: int) -> tuple[Floats, NDArray[np.int64]]:
    """The k nearest items of b to each of a, nearest first: distances and indices [len(a), k]."""
    k = min(k, len(b))
    far, who = [], []
    for start in range(0, len(a), 256):
        d = pairwise(a[start : start + 256], b)
        part = np.argpartition(d, k - 1, axis=1)[:, :k]
        reach = np.take_along_axis(d, part, 1)
        order = np.argsort(reach, axis=1, kind="stable")
        far.append(np.take_along_axis(reach, order, 1))
        who.append(np.take_along_axis(part, order, 1))
    return np.concatenate(far), np.concatenate(who).astype(np.int64)


def _radii(x: NDArray[np.floating], k: int) -> Floats:
    """Distance of each item to its k-th neighbour in its own set."""
    k = min(k, len(x) - 1)
    d = pairwise(x, x)
    np.fill_diagonal(d, 0.0)
    out: Floats = np.partition(d, k, axis=1)[:, k]
    return out


def _check(a: NDArray[np.floating], b: NDArray[np.floating]) -> None:
    if len(a) < 2 or len(b) < 2:
        raise UsageError(f"distributions of {len(a)} and {len(b)} items cannot be compared: two of each at least")
    if a.shape[1:] != b.shape[1:]:
        raise UsageError(f"features of {a.shape[1:]} and {b.shape[1:]} cannot be compared: one network for both")
