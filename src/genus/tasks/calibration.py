"""How far a model's certainty can be trusted: calibration error, Brier score, and what it would gain by silence.

    ECE    sum over bins of (items in the bin / all) |share that is right - mean certainty|     Guo et al. 2017,
                                                                                               arXiv 1706.04599
    Brier  mean over items of sum over choices of (p - [it is the right one])^2                Brier 1950
    risk(coverage): of the items that it is surest of, so many, the share that is wrong        Geifman and El-Yaniv
                                                                                               2017, arXiv 1705.08500

With few items a calibration error is too large even for a perfect model, as each bin is off by chance: it compares
models on the same items. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from genus.tasks.task import Floats, Score, mean
from genus.validate import charts
from genus.validate.charts import Line
from genus.validate.findings import Figure

BINS = 10
THRESHOLDS = 21
#: One point of a picture.
Point = Mapping[str, float]


def shares(logs: Floats) -> Floats:
    """log p of some answers as probabilities among these alone."""
    grown = np.exp(logs - logs.max())
    return np.asarray(grown / grown.sum(), np.float64)


def error(sure: Floats, right: Floats) -> float:
    """ECE in equal bins of certainty. sure: of the answer given, 0 .. 1; right: 0 or 1."""
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gap = np.bincount(bins, right - sure, BINS)
    return float(np.abs(gap).sum() / len(sure))


def brier(p: Floats, right: int) -> float:
    """Of one item; 0 is best, 2 worst, 1 - 1 / choices what an even guess gets."""
    told = np.zeros(len(p))
    told[right] = 1
    return float(((p - told) ** 2).sum())


def area(sure: Floats, wrong: Floats) -> float:
    """Mean risk over all coverages; what is as sure as other items counts with their mean. 0 is best; without any
    order it is the share that is wrong.
    """
    return float(np.mean(risks(sure, wrong)))


def risks(sure: Floats, wrong: Floats) -> Floats:
    """Share that is wrong among the 1, 2, ... n surest; ties in the mean over their orders."""
    order = np.argsort(-sure, kind="stable")
    values, ranked = sure[order], wrong[order].astype(np.float64).copy()
    edges = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    for a, b in pairwise(edges):
        ranked[a:b] = ranked[a:b].mean()
    return np.asarray(ranked.cumsum() / np.arange(1, len(ranked) + 1), np.float64)


def chosen(told: Sequence[Floats], right: Sequence[int]) -> tuple[tuple[Score, ...], Figure, list[Point]]:
    """Of a choice: ECE and Brier score, the picture, and its points. told: probabilities of each item's choices."""
    sure = np.array([float(p.max()) for p in told])
    hits = np.array([float(p.argmax() == r) for p, r in zip(told, right, strict=True)])
    off = np.array([brier(p, r) for p, r in zip(told, right, strict=True)])
    even = float(np.mean([1 - 1 / len(p) for p in told]))
    scores = (
        Score("ece", (sure, hits), error, None, "calibration error", "lower"),
        Score("brier", (off,), mean, even, "Brier score", "lower"),
    )
    points = reliability(sure, hits)
    return scores, figure(points), points


def reliability(sure: Floats, right: Floats) -> list[Point]:
    """Of each bin that holds items: mean certainty, share that is right, items."""
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    found: list[Point] = []
    for b in range(BINS):
        here = bins == b
        if here.any():
            found.append(
                {"sure": float(sure[here].mean()), "right": float(right[here].mean()), "items": int(here.sum())}
            )
    return found


def figure(points: Sequence[Point]) -> Figure:
    """Share that is right against certainty, beside the line on which both are the same."""
    line = Line("as it should be", [0.0, 1.0], [0.0, 1.0], "train")
    own = Line("this model", [p["sure"] for p in points], [p["right"] for p in points], "val")
    caption = "How often the likeliest choice is right, against how sure the model is of it; in tenths of certainty."
    return Figure("Reliability", caption, charts.curves([line, own], "certainty", "share that is right"))


def covered(sure: Floats, wrong: Floats, items: int) -> list[Point]:
    """What is answered, and wrong, if answers less sure than a threshold are withheld. items: asked, with those that
    were never answered.
    """
    found: list[Point] = []
    steps = np.unique(np.quantile(sure, np.linspace(0, 1, THRESHOLDS))) if len(sure) else np.zeros(0)
    for threshold in steps:
        kept = sure >= threshold
        found.append(
            {
                "threshold": float(threshold),
                "coverage": float(kept.sum() / items),
                "risk": float(wrong[kept].mean()),
            }
        )
    return found
