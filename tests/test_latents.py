"""Ways along a sphere and sums of its length."""

import math

import pytest
import torch

from genus import latents
from genus.errors import UsageError


def test_a_quarter_turn():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    way = latents.between(a, b, latents.steps(3))
    assert torch.allclose(way, torch.tensor([[2.0, 0.0], [math.sqrt(2), math.sqrt(2)], [0.0, 2.0]]))
    assert torch.equal(way[0], a)


def test_the_length_is_kept_in_many_dimensions_where_a_line_loses_it():
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 16, 16)
    way = latents.between(a, b, latents.steps(9))
    assert way.shape == (9, 3, 16, 16)
    assert all(abs(z.norm() / 768**0.5 - 1) < 0.06 for z in way)
    assert (0.5 * (a + b)).norm() / 768**0.5 < 0.75


def test_ends_that_are_near_or_opposite():
    a = torch.tensor([1.0, 0.0])
    assert torch.equal(latents.between(a, a, [0.0, 0.5, 1.0]), a.expand(3, 2))
    assert torch.equal(latents.between(a, 3 * a, [0.5])[0], 2 * a)
    with pytest.raises(UsageError, match="opposite"):
        latents.between(a, -a, [0.5])
    with pytest.raises(UsageError, match="n = 1: a way has two ends"):
        latents.steps(1)


def test_a_sum_has_the_length_of_its_base():
    base, b, c = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0]), torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    assert torch.allclose(latents.summed(base, b[None], c), torch.tensor([1.0, 1.0]) * 3 / math.sqrt(2))
    assert torch.allclose(latents.summed(base, b[None], b[None]), base)
    assert torch.equal(latents.summed(base, c[:0], c[:0]), base)
