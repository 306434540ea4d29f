"""Solved against the closed form: for Gaussian data the best predictor and the flow's map are known."""

import math

import pytest
import torch

from genus.core import Cond, Known, Noise, Space
from genus.errors import UsageError
from genus.samplers.ode import Ode

SPACE = Space((3,), 2)
MEAN, SIZE = 0.7, 0.3


class Gaussian:
    """E[x | x_t] for x ~ N(MEAN, SIZE^2); the flow takes e to MEAN + SIZE e."""

    def __call__(self, x, t=None, cond=Cond(), state=None):
        t = t.double().view(-1, 1, 1)
        gain = (1 - t) * SIZE**2 / ((1 - t) ** 2 * SIZE**2 + t**2)
        return MEAN + gain * (x - (1 - t) * MEAN)

    def start(self, batch, cells):
        return None


def error(method, steps, shift=1.0):
    noise = Noise(3, tuple(range(16)))
    x = Ode(method=method, steps=steps, shift=shift)(Gaussian(), SPACE, Cond(), noise)
    exact = MEAN + SIZE * noise.normal(0, SPACE.shape).double()
    return float((x - exact).abs().mean())


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("multistep", 2)])
def test_converges_to_the_closed_form_at_its_order(method, order):
    coarse, fine = error(method, 40), error(method, 80)
    assert fine < {1: 1e-2, 2: 2e-3}[order]
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)


def test_a_shifted_grid_ends_where_it_should():
    grid = Ode(steps=10, shift=3.0).grid()
    assert grid[0] == 1
    assert grid[-1] == 0
    assert sorted(grid, reverse=True) == grid
    assert grid[5] == pytest.approx(0.75)
    assert error("multistep", 80, shift=2.0) < 5e-3


@pytest.mark.parametrize("method", ["euler", "heun", "multistep"])
def test_a_sample_alone_is_the_sample_among_many(method):
    sampler = Ode(method=method, steps=5)
    many = sampler(Gaussian(), SPACE, Cond(), Noise(1, tuple(range(64))))
    alone = sampler(Gaussian(), SPACE, Cond(), Noise(1, (37,)))
    torch.testing.assert_close(alone, many[37:38], atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["euler", "heun", "multistep"])
def test_known_cells_come_out_as_given_and_keep_to_their_path(method):
    noise = Noise(1, (0, 1))
    mask = torch.zeros(2, *SPACE.shape, dtype=torch.bool)
    mask[:, :, 0] = True
    known = Known(torch.full((2, *SPACE.shape), -0.4), mask)
    seen = []

    class Watched(Gaussian):
        def __call__(self, x, t=None, cond=Cond(), state=None):
            seen.append((float(t[0]), x[mask]))
            return super().__call__(x, t)

    x = Ode(method=method, steps=6)(Watched(), SPACE, Cond(), noise, known)
    assert torch.allclose(x[mask], known.x[mask], atol=1e-6)
    assert (x[~mask] != known.x[~mask]).all()
    e = noise.normal(0, SPACE.shape)[mask]
    for t, cells in seen:
        torch.testing.assert_close(cells.float(), (1 - t) * known.x[mask] + t * e, atol=1e-5, rtol=0)


def test_it_shows_a_picture_after_each_step():
    shown = list(Ode(steps=4).stream(Gaussian(), SPACE, Cond(), Noise(0, (0,))))
    assert len(shown) == 4
    assert {x.shape for x in shown} == {(1, 2, 3)}


def test_tokens_are_refused():
    with pytest.raises(UsageError, match="vocabulary"):
        Ode()(Gaussian(), Space((3,), 1, 5), Cond(), Noise(0))
