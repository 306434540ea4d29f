"""A checkerboard, a mixture, 25 Gaussians: no classifier tells what is drawn from what is real (C2ST near 0.5)."""

import pytest
import torch
from plane_toys import PLANE, checkerboard, covered, lattice, mixture, told_apart, trained

from genus.core import Cond, Noise
from genus.objectives.diffusion import Diffusion
from genus.objectives.flow import Flow
from genus.samplers.ode import Ode

N = 1000
EDM = Diffusion(output="residual", scale=1.0, schedule="lognormal", mean=-0.6)
BY = {
    "flow": (Flow(scale=1.0), Ode(steps=30)),
    "edm": (EDM, Ode(steps=18, method="heun", spacing="karras")),
}


def drawn(objective, sampler, data, **how):
    nets = trained(objective, drawn=data, **how)
    with torch.no_grad():
        return sampler(objective.predictor(nets), PLANE, Cond(), Noise(7, tuple(range(N))))


def on_dark(x):
    """Share in the dark squares of the checkerboard: 0.5 of what knows nothing of it."""
    square = ((x.clamp(-0.999, 0.999) + 1) * 2).long()
    return float((square.sum(1) % 2 == 0).float().mean())


def test_the_measures_know_alike_from_unlike():
    """The control: fresh data is not told apart; the square without its pattern, and a Gaussian fit, are."""
    real = checkerboard(2, N)
    assert told_apart(checkerboard(3, N), real) == pytest.approx(0.5, abs=0.03) and on_dark(real) == 1
    generator = torch.Generator().manual_seed(0)
    even = 2 * torch.rand(N, 2, generator=generator) - 1
    normal = real.std() * torch.randn(N, 2, generator=generator)
    assert told_apart(even, real) > 0.6 and told_apart(normal, real) > 0.6 and on_dark(even) < 0.55


@pytest.mark.parametrize("name", BY)
def test_a_checkerboard(name):
    """Its edges take longer to learn than a test may; which squares are dark does not."""
    made = drawn(*BY[name], checkerboard, steps=1200, fine=True)
    assert on_dark(made) > 0.63 and told_apart(made, checkerboard(2, N)) < 0.61


@pytest.mark.parametrize("name", BY)
def test_25_gaussians(name):
    made = drawn(*BY[name], lattice, fine=True)
    modes, near = covered(made)
    assert modes == 25 and near > 0.85 and told_apart(made, lattice(2, N)) < 0.6


@pytest.mark.parametrize("name", BY)
def test_a_mixture(name):
    made = drawn(*BY[name], mixture)
    assert told_apart(made, mixture(2, N)) < 0.57
