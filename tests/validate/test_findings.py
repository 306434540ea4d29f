from __future__ import annotations

import math

import numpy as np
import pytest

from genus.validate.findings import Finding, around, left_out, ratio, share


def test_the_bootstrap_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(100):
        _, low, high = ratio(rng.exponential(2.0, 200), np.ones(200), seed=trial)
        inside += low <= 2.0 <= high
    assert 88 <= inside <= 99


def test_a_ratio_weighs_items_by_their_size():
    value, low, high = ratio([10.0, 1.0], [1.0, 10.0])
    assert value == 1.0
    assert low <= value <= high


def test_one_item_has_no_interval():
    value, low, high = ratio([3.0], [2.0])
    assert value == 1.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_a_share_stays_between_zero_and_one():
    value, low, high = share([True] * 3 + [False] * 97)
    assert value == 0.03
    assert 0 <= low <= value <= high < 0.1


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(0).standard_normal(1000)
    _, low, high = around(float(x.mean()), left_out(lambda keep: float(x[keep(len(x))].mean())))
    assert (low + high) / 2 == pytest.approx(x.mean())
    assert (high - low) / 2 == pytest.approx(2.26 / math.sqrt(1000), rel=0.5)


def test_a_number_that_is_not_finite_is_null_in_json():
    said = Finding("x", math.nan, -math.inf, 1.0).json()
    assert (said["value"], said["low"], said["high"]) == (None, None, 1.0)
    assert list(said) == ["name", "value", "low", "high", "unit", "better", "split"]
