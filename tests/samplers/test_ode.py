"""Solved against the closed form: for Gaussian data and mixtures the best predictor is known, and for one the map."""

import math

import pytest
import torch

from genus.core import Cond, Known, Noise, Space
from genus.errors import UsageError
from genus.samplers.ode import Ode
from genus.samplers.schedules import steps

SPACE = Space((3,), 2)
MEAN, SIZE = 0.7, 0.3


class Gaussian:
    """E[x | x_t] for x ~ N(MEAN, SIZE^2); the flow takes e to MEAN + SIZE e."""

    def __call__(self, x, t=None, cond=Cond(), state=None):
        t = t.double().view(-1, *(1,) * (x.dim() - 1))
        gain = (1 - t) * SIZE**2 / ((1 - t) ** 2 * SIZE**2 + t**2)
        return MEAN + gain * (x - (1 - t) * MEAN)

    def start(self, batch, cells):
        return None


def error(method, number, spacing="even", shift=1.0):
    noise = Noise(3, tuple(range(16)))
    x = Ode(method=method, steps=number, shift=shift, spacing=spacing)(Gaussian(), SPACE, Cond(), noise)
    t, e = steps(spacing, number, shift)[0], noise.normal(0, SPACE.shape).double()
    size = math.sqrt(((1 - t) * SIZE) ** 2 + t**2)  # of x_t; the flow keeps each sample's place in the Gaussian
    return float((x - (MEAN + SIZE * (t * e - (1 - t) * MEAN) / size)).abs().mean())


@pytest.mark.parametrize(
    ("method", "spacing", "order"),
    [
        ("euler", "even", 1),
        ("euler", "cosine", 1),
        ("euler", "karras", 1),
        ("euler", "linear", 1),
        ("multistep", "even", 2),
        ("heun", "even", 2),
        ("heun", "karras", 2),
        ("dpm", "karras", 2),
    ],
)
def test_converges_to_the_closed_form_at_its_order(method, spacing, order):
    coarse, fine = error(method, 80, spacing), error(method, 160, spacing)
    assert fine < {1: 1e-2, 2: 5e-4}[order]
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("knobs", [{"method": "euler", "eta": 1.0}, {"method": "heun", "churn": 40.0}])
def test_new_noise_on_the_way_leaves_the_distribution(knobs):
    many = Noise(5, tuple(range(3000)))
    x = Ode(steps=400, spacing="karras", **knobs)(Gaussian(), Space((), 2), Cond(), many)
    still = Ode(steps=20, spacing="karras")(Gaussian(), Space((), 2), Cond(), many)
    assert x.mean() == pytest.approx(MEAN, abs=0.015)
    assert x.std() == pytest.approx(SIZE, rel=0.04)
    assert (x - still).abs().mean() > 0.05  # it is another draw


@pytest.mark.parametrize("knobs", [{"method": "dpm", "eta": 0.5}, {"method": "multistep", "churn": 10.0}])
def test_new_noise_is_refused_where_it_would_bias(knobs):
    with pytest.raises(ValueError, match="choose"):
        Ode(**knobs)


def test_a_shifted_grid_ends_where_it_should():
    grid = steps("even", 10, 3.0)
    assert grid[0] == 1
    assert grid[-1] == 0
    assert sorted(grid, reverse=True) == grid
    assert grid[5] == pytest.approx(0.75)
    assert error("multistep", 80, "even", 2.0) < 5e-3


@pytest.mark.parametrize("method", ["euler", "heun", "multistep", "dpm", "anew"])
def test_a_sample_alone_is_the_sample_among_many(method):
    sampler = Ode(method=method, steps=5)
    many = sampler(Gaussian(), SPACE, Cond(), Noise(1, tuple(range(64))))
    alone = sampler(Gaussian(), SPACE, Cond(), Noise(1, (37,)))
    torch.testing.assert_close(alone, many[37:38], atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["euler", "heun", "multistep", "dpm"])
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


def test_a_draft_is_kept_as_far_as_the_strength_says():
    draft = torch.full((64, *SPACE.shape), 0.1)
    known = Known(draft, torch.zeros_like(draft, dtype=torch.bool))
    noise = Noise(1, tuple(range(64)))
    far = [
        float((Ode(steps=20, strength=s)(Gaussian(), SPACE, Cond(), noise, known) - draft).abs().mean())
        for s in (0.05, 0.3, 0.6, 1.0)
    ]
    assert far == sorted(far) and far[0] < 0.1
    free = Ode(steps=20)(Gaussian(), SPACE, Cond(), noise)
    torch.testing.assert_close(Ode(steps=20)(Gaussian(), SPACE, Cond(), noise, known), free)
    with pytest.raises(UsageError, match="draft"):
        Ode(strength=0.5)(Gaussian(), SPACE, Cond(), noise)


class Leads(Gaussian):
    """Where the path from x_t ends."""

    def __call__(self, x, t=None, cond=Cond(), state=None):
        t = t.double().view(-1, *(1,) * (x.dim() - 1))
        return MEAN + SIZE * (x - (1 - t) * MEAN) / (((1 - t) * SIZE) ** 2 + t**2).sqrt()


@pytest.mark.parametrize("looks", [1, 2, 4])
def test_the_end_of_the_path_is_found_in_one_look_and_left_with_new_noise(looks):
    noise = Noise(5, tuple(range(3000)))
    x = Ode(method="anew", steps=looks)(Leads(), Space((), 2), Cond(), noise)
    assert x.mean() == pytest.approx(MEAN, abs=0.015)
    assert x.std() == pytest.approx(SIZE, rel=0.03)
    same = MEAN + SIZE * noise.normal(0, (2,))
    assert torch.allclose(x.float(), same, atol=1e-5) == (looks == 1)


def test_known_cells_come_out_as_given_among_new_noise():
    mask = torch.zeros(2, *SPACE.shape, dtype=torch.bool)
    mask[:, :, 0] = True
    known = Known(torch.full((2, *SPACE.shape), -0.4), mask)
    x = Ode(method="anew", steps=4)(Leads(), SPACE, Cond(), Noise(1, (0, 1)), known)
    assert torch.equal(x[mask], known.x[mask]) and (x[~mask] != known.x[~mask]).all()


PLACES = torch.cartesian_prod(torch.arange(-2.0, 3), torch.arange(-2.0, 3)) / 2  # 25 centres


class Mixture(Gaussian):
    """E[x | x_t] for 25 Gaussians of equal weight around PLACES: paths that bend, since every mode pulls."""

    spread = 0.1

    def __call__(self, x, t=None, cond=Cond(), state=None):
        x, t = x.double(), t.double().view(-1, 1)
        var = (1 - t) ** 2 * self.spread**2 + t**2
        centres = PLACES.double()
        off = x[:, None] - (1 - t)[:, None] * centres  # [B, 25, 2]
        share = torch.softmax(-off.square().sum(-1) / (2 * var), 1)[..., None]
        gain = (1 - t) * self.spread**2 / var
        return (share * (centres + gain[:, None] * off)).sum(1)


@pytest.fixture(scope="module")
def exactly():
    return Ode(method="heun", steps=500, spacing="karras")(Mixture(), Space((), 2), Cond(), Noise(6, tuple(range(400))))


@pytest.mark.parametrize(
    ("knobs", "share"),
    [
        ({"method": "euler", "steps": 50}, 0.08),
        ({"method": "heun", "steps": 20, "spacing": "karras"}, 0.1),
        ({"method": "dpm", "steps": 30, "spacing": "karras"}, 0.05),
        ({"method": "dpm", "steps": 50, "spacing": "cosine"}, 0.07),
        ({"method": "multistep", "steps": 30}, 0.05),
    ],
)
def test_few_steps_go_where_a_thousand_go(knobs, share, exactly):
    """share: of samples that end at another place than the path's, and of the spread that is missed or added."""
    x = Ode(**knobs)(Mixture(), Space((), 2), Cond(), Noise(6, tuple(range(400))))
    at, should = (torch.cdist(y, PLACES.double()).argmin(1) for y in (x.double(), exactly.double()))
    spread = (x - PLACES[at]).square().mean().sqrt() / Mixture.spread
    assert (at != should).double().mean() < share
    assert float(spread) == pytest.approx(1, abs=share)
