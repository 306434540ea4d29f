"""A law that made the losses is found again; what it says of a larger run holds as often as it claims."""

import numpy as np
import pytest

from genus.errors import UsageError
from genus.train.law import Law, effective, fitted, forecast
from genus.train.sizing import SizingConfig

COMPUTE = np.array([1e12, 8e12, 5e13, 3e14])[:, None]
ONE = Law(1.2, ((4e3, 0.31),))
TWO = Law(0.9, ((40.0, 0.4), (300.0, 0.35)))


def test_a_law_of_compute_is_found_again():
    found = fitted(COMPUTE, ONE(COMPUTE))
    assert found.floor == pytest.approx(ONE.floor, rel=1e-2)
    assert found.terms[0][1] == pytest.approx(0.31, rel=1e-2)
    assert found(COMPUTE * 10) == pytest.approx(ONE(COMPUTE * 10), rel=1e-3)


def test_a_law_of_weights_and_data_is_found_again():
    x = np.array([(n, d) for n in (1e5, 3e5, 1e6, 3e6) for d in (1e6, 1e7, 1e8)])
    found = fitted(x, TWO(x))
    assert [e for _, e in found.terms] == pytest.approx([0.4, 0.35], rel=0.03)
    further = np.array([(3e7, 1e9)])
    assert found(further) == pytest.approx(TWO(further), rel=5e-3)


def test_no_number_of_a_law_is_negative():
    rising = fitted(COMPUTE, np.array([1.0, 1.1, 1.2, 1.3]))
    assert rising.floor >= 0 and all(a >= 0 for a, _ in rising.terms)
    straight = fitted(COMPUTE, 5e2 / COMPUTE[:, 0] ** 0.2)
    assert 0 <= straight.floor < 0.02 and straight.terms[0][1] == pytest.approx(0.2, rel=0.02)


def test_too_few_runs_are_refused():
    with pytest.raises(UsageError, match="2 runs"):
        fitted(COMPUTE[:2], ONE(COMPUTE[:2]))


def test_the_interval_holds_about_as_often_as_it_says():
    """Of twenty ladders with three seeds a size, noise 0.5 %: a held-out run eight times as large."""
    rng, at = np.random.default_rng(0), (2.4e15,)
    x, groups = np.repeat(COMPUTE, 3, axis=0), np.repeat(np.arange(4), 3)
    inside, wide = 0, []
    for i in range(20):
        seen = ONE(x) * np.exp(0.005 * rng.standard_normal(12))
        true = ONE(np.array([at]))[0] * np.exp(0.005 * rng.standard_normal())
        found = forecast(x, seen, at, groups, draws=40, seed=i)
        inside += found.low <= true <= found.high
        wide.append(found.high / found.low - 1)
    assert 17 <= inside <= 20
    assert 0.01 < np.median(wide) < 0.15


def test_noisier_runs_give_a_wider_interval():
    rng = np.random.default_rng(1)
    x, groups = np.repeat(COMPUTE, 3, axis=0), np.repeat(np.arange(4), 3)
    noise, widths = rng.standard_normal(12), []
    for size in (0.002, 0.02):
        found = forecast(x, ONE(x) * np.exp(size * noise), (2.4e15,), groups, draws=60)
        assert found.spread == pytest.approx(size, rel=0.6)
        widths.append(found.high - found.low)
    assert widths[1] > 2 * widths[0]


def test_repeated_tokens_count_less():
    assert effective(5.0, 10.0, 15.4) == 5.0
    assert 10 < effective(20.0, 10.0, 15.4) < 20
    assert effective(1e9, 10.0, 15.4) == pytest.approx(10 * 16.4)


def test_constants_of_a_recipe_are_found_again():
    law = SizingConfig(floor=0.8, a=30.0, alpha=0.4, b=200.0, beta=0.35)
    runs = [(n, d, 1e12, law.loss(n, d, 1e12)) for n in (10**5, 10**6, 10**7) for d in (1e6, 1e7, 1e8)]
    found = SizingConfig().refitted(runs)
    assert found.alpha == pytest.approx(0.4, rel=0.05) and found.beta == pytest.approx(0.35, rel=0.05)
    assert found.loss(10**8, 1e9, 1e12) == pytest.approx(law.loss(10**8, 1e9, 1e12), rel=0.01)
