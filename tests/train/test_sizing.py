"""The written rule: more time asks for more weights, more repetition for fewer."""

import pytest

from genus.errors import UsageError
from genus.train.sizing import SizingConfig

LAW = SizingConfig()
SPEED = 3e9  # weights x cells a second: what this machine is taken to do


def best(seconds, different=1e12, law=LAW):
    sizes = [10**e for e in range(4, 10)]
    return min(sizes, key=lambda n: law.loss(n, seconds * SPEED / n, different))


def test_more_time_more_weights():
    chosen = [best(s) for s in (10, 1000, 100_000, 10_000_000)]
    assert chosen == sorted(chosen) and chosen[0] < chosen[-1]


def test_the_law_is_the_published_one():
    assert LAW.loss(70 * 10**9, 1.4e12, 10**13) == pytest.approx(1.82 + 482 / (7e10) ** 0.348 + 2085 / 1.4e12**0.366)


def test_more_weights_and_more_data_help():
    assert LAW.loss(10**7, 1e8, 10**9) < LAW.loss(10**6, 1e8, 10**9)
    assert LAW.loss(10**7, 1e9, 10**9) < LAW.loss(10**7, 1e8, 10**9)


def test_repeated_data_is_worth_less_and_less():
    fresh, twice = LAW.loss(10**6, 2e6, 2 * 10**6), LAW.loss(10**6, 2e6, 10**6)
    assert fresh < twice < LAW.loss(10**6, 1e6, 10**6)
    assert LAW.loss(10**6, 1e15, 10**6) == pytest.approx(LAW.loss(10**6, 1e16, 10**6))


def test_no_data_and_no_time_are_no_crash():
    assert LAW.loss(1, 0, 0) > 0 and LAW.loss(10**12, 1e-9, 1) > 0


def test_samples_are_a_power_of_two_within_bounds():
    law = SizingConfig(batch=(8, 256))
    seen = [law.samples(10**6, 10**e, 256) for e in range(16)]
    assert seen == sorted(seen) and seen[0] == 8 and seen[-1] == 256
    assert all(n & (n - 1) == 0 for n in seen)
    assert SizingConfig(batch=(50, 50)).samples(10**6, 1e9, 256) == 50
    assert law.samples(10**6, 1e9, 1) > 0


@pytest.mark.parametrize("wrong", [{"sample": 0}, {"dials": ("x",)}, {"batch": (1, 2, 3)}, {"batch": (0, 8)},
                                   {"batch": (9, 8)}, {"dials": (0, 1)}, {"repeat": 0}])  # fmt: skip
def test_out_of_range(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        LAW.but(**wrong)


def test_of_sizes_that_the_law_cannot_tell_apart_the_smallest_is_taken():
    law = SizingConfig(near=0.005)
    assert law.best([1.1, 1.004, 1.0, 1.2]) == 1
    assert law.best([1.1, 1.006, 1.0, 1.2]) == 2
    assert SizingConfig(near=0.0).best([1.1, 1.0001, 1.0]) == 2
