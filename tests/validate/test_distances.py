from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from genus.errors import UsageError
from genus.validate import distances


def normal(n: int, d: int, shift: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return shift + scale * np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize(("n", "d"), [(50, 8), (20, 40)])
def test_frechet_is_the_closed_form_of_the_fitted_gaussians(n, d):
    a, b = normal(n, d), normal(n + 7, d, 0.5, 2.0, 1) @ normal(d, d, seed=2)
    s, t = np.cov(a.T), np.cov(b.T)
    form = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * np.real(sqrtm(s @ t)))
    assert distances.frechet(a, b) == pytest.approx(form, rel=1e-3)
    assert distances.frechet(b, a) == pytest.approx(distances.frechet(a, b), rel=1e-9)


def test_frechet_between_two_known_gaussians():
    # N(0, 1) and N(3, 4) in 5 dimensions: 5 (3^2 + (2 - 1)^2) = 50
    assert distances.frechet(normal(40_000, 5), normal(40_000, 5, 3, 2, 1)) == pytest.approx(50, rel=0.02)
    assert distances.frechet(normal(30, 50), normal(30, 50)) == pytest.approx(0, abs=1e-4)


def test_kernel_distance_is_unbiased():
    same = [distances.kernel(normal(60, 6, seed=s), normal(60, 6, seed=s + 1000)) for s in range(200)]
    error = np.std(same) / np.sqrt(len(same))
    assert abs(np.mean(same)) < 3 * error
    assert min(same) < 0 < max(same)
    assert distances.kernel(normal(60, 6), normal(60, 6, 1.0, seed=1)) > 10 * np.std(same)


def test_kernel_distance_is_the_double_sum():
    a, b = normal(5, 3), normal(4, 3, seed=1)

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    expected = np.mean([k(a[i], a[j]) for i in range(5) for j in range(5) if i != j])
    expected += np.mean([k(b[i], b[j]) for i in range(4) for j in range(4) if i != j])
    expected -= 2 * np.mean([k(x, y) for x in a for y in b])
    assert distances.kernel(a, b) == pytest.approx(expected, rel=1e-12)


def test_support_is_the_definitions_word_for_word():
    real, made = normal(30, 4), normal(25, 4, 0.7, seed=1)

    def radius(x, i, k):
        return sorted(np.linalg.norm(x[i] - y) for y in x)[k]  # its own distance, 0, comes first

    got = distances.support(real, made, near=3, dense=5)
    far = np.linalg.norm(real[:, None] - made[None], axis=2)
    r3 = [radius(real, i, 3) for i in range(30)]
    r5 = [radius(real, i, 5) for i in range(30)]
    m3 = [radius(made, j, 3) for j in range(25)]
    assert got.precision.tolist() == [any(far[i, j] <= r3[i] for i in range(30)) for j in range(25)]
    assert got.recall.tolist() == [any(far[i, j] <= m3[j] for j in range(25)) for i in range(30)]
    assert got.density == pytest.approx([sum(far[i, j] <= r5[i] for i in range(30)) / 5 for j in range(25)])
    assert got.coverage.tolist() == [any(far[i, j] <= r5[i] for j in range(25)) for i in range(30)]


def test_a_constant_generator_covers_nothing():
    real = normal(200, 8)
    got = distances.support(real, np.repeat(real[:1], 200, 0))
    assert got.precision.mean() == 1.0  # what it shows is real
    assert got.recall.mean() <= 0.01
    assert got.coverage.mean() < 0.1


def test_the_same_distribution_has_all_four_near_one():
    got = distances.support(normal(300, 4), normal(300, 4, seed=1))
    assert min(got.precision.mean(), got.recall.mean(), got.coverage.mean()) > 0.85
    assert got.density.mean() == pytest.approx(1, abs=0.15)


def test_nearest_finds_what_brute_force_finds():
    a, b = normal(300, 3), normal(70, 3, seed=1)
    far, who = distances.nearest(a, b, 4)
    brute = np.linalg.norm(a[:, None] - b[None], axis=2)
    assert who.tolist() == np.argsort(brute, axis=1)[:, :4].tolist()
    assert far == pytest.approx(np.sort(brute, axis=1)[:, :4])


def test_gap_closed_is_zero_at_the_gaussian_and_one_at_real():
    assert distances.gap_closed(767, 767, 14) == 0
    assert distances.gap_closed(767, 14, 14) == 1
    assert distances.gap_closed(767, 800, 14) < 0
    assert np.isnan(distances.gap_closed(5, 1, 5))


def test_sets_that_cannot_be_compared_are_refused():
    with pytest.raises(UsageError, match="two of each"):
        distances.frechet(normal(1, 3), normal(5, 3))
    with pytest.raises(UsageError, match="one network for both"):
        distances.kernel(normal(5, 3), normal(5, 4))
