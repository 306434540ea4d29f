"""AUROC against a count of all pairs, by hand where it can be, ties among them."""

import math

import numpy as np
import pytest

from genus.validate.ranks import auroc, told_apart


@pytest.mark.parametrize(
    ("normal", "odd", "value"),
    [
        ([1, 2, 3], [4, 5], 1.0),
        ([4, 5], [1, 2, 3], 0.0),
        ([1, 2, 3], [1, 2, 3], 0.5),
        ([1, 1], [1], 0.5),
        ([1, 2], [2, 3], 3.5 / 4),  # of four pairs three are higher and one is a tie
        ([0, 1, 1, 2], [1, 1, 3], (2 + 2 + 4) / 12),  # each 1: one pair higher and two ties
    ],
)
def test_by_hand(normal, odd, value):
    assert auroc(normal, odd) == pytest.approx(value, abs=1e-12)


def test_every_pair_counted():
    dice = np.random.default_rng(0)
    for _ in range(20):
        a, b = dice.integers(0, 6, 9), dice.integers(1, 7, 5)
        pairs = [1.0 if y > x else 0.5 if y == x else 0.0 for x in a for y in b]
        assert auroc(a, b) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
        assert auroc(a, b) + auroc(b, a) == pytest.approx(1, abs=1e-12)


def test_the_interval():
    dice = np.random.default_rng(2)
    a, b = dice.normal(0, 1, 300), dice.normal(1, 1, 300)
    value, low, high = told_apart(a, b)
    assert low < value < high and high - low < 0.1
    assert low < 0.7602 < high  # Phi(1 / sqrt 2), what these two normals give
    assert told_apart(a, b) == (value, low, high)
    assert told_apart([1, 2], [3, 4])[1:] == (1.0, 1.0)
    one = told_apart([1, 2], [1.5])
    assert one[0] == 0.5 and math.isnan(one[1])
    assert math.isnan(auroc([], [1]))
