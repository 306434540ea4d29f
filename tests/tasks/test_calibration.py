"""Calibration against sums by hand."""

import numpy as np
import pytest

from genus.tasks.calibration import area, brier, covered, error, risks, shares


def test_probabilities_among_choices():
    assert shares(np.log([0.2, 0.1, 0.1])) == pytest.approx([0.5, 0.25, 0.25])
    assert shares(np.array([-1000.0, -1001.0])).sum() == pytest.approx(1)


def test_calibration_error_by_hand():
    sure, right = np.array([0.95, 0.95, 0.65, 0.65]), np.array([1.0, 0.0, 1.0, 1.0])
    assert error(sure, right) == pytest.approx(0.5 * abs(0.5 - 0.95) + 0.5 * abs(1 - 0.65))
    assert error(np.ones(3), np.ones(3)) == 0


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.3, 1, 20_000)
    right = (rng.random(20_000) < sure).astype(float)
    assert error(sure, right) < 0.015
    assert error(np.sqrt(sure), right) > 0.1


def test_brier_by_hand():
    assert brier(np.array([0.7, 0.3]), 0) == pytest.approx(0.18)
    assert brier(np.full(4, 0.25), 2) == pytest.approx(0.75)


def test_risk_over_coverage():
    sure, wrong = np.array([0.9, 0.8, 0.2, 0.1]), np.array([0.0, 0.0, 1.0, 1.0])
    assert risks(sure, wrong).tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert area(sure, wrong) < area(1 - sure, wrong)
    assert area(np.zeros(4), wrong) == pytest.approx(0.5), "no order is no gain"
    points = covered(sure, wrong, 8)
    assert points[0]["coverage"] == 0.5 and points[-1] == {"threshold": 0.9, "coverage": 0.125, "risk": 0.0}
