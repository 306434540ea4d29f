"""Against closed forms: a Gaussian, whose best denoiser is known, and a trained mixture on the plane."""

import math

import pytest
import torch
from plane_toys import CENTRES, PLANE, SHARES, SPREAD, mixture, trained

from genus.core import Batch, Cond, Noise
from genus.objectives.diffusion import Diffusion
from genus.objectives.flow import Flow
from genus.objectives.probability_flow import log_prob
from genus.samplers.ode import Ode

MEAN, SIZE = 0.4, 0.3


class Gaussian:
    def __call__(self, x, t=None, cond=Cond(), state=None):
        t = t.view(-1, *(1,) * (x.dim() - 1)).to(x)
        return MEAN + (1 - t) * SIZE**2 / ((1 - t) ** 2 * SIZE**2 + t**2) * (x - (1 - t) * MEAN)


def gaussian(n, cells=6):
    x = MEAN + SIZE * torch.randn(n, 1, cells, generator=torch.Generator().manual_seed(1))
    z = (x.double() - MEAN) / SIZE
    return x, (-0.5 * (z.square() + math.log(2 * math.pi)) - math.log(SIZE)).flatten(1).sum(1)


@pytest.mark.parametrize("probes", [0, 1, 4])
def test_a_gaussian_has_its_density(probes):
    x, exact = gaussian(64)  # its velocity has the same slope everywhere: one probe is as good as all
    found = log_prob(Gaussian(), Batch(x), Noise(2, tuple(range(64))), None, 64, probes)
    assert not found.exact
    assert (found.nats - exact).abs().max() < 0.05 * 6


def test_more_steps_come_nearer():
    x, exact = gaussian(32)
    off = [
        float((log_prob(Gaussian(), Batch(x), Noise(2, tuple(range(32))), None, steps, 0).nats - exact).abs().mean())
        for steps in (8, 16, 32)
    ]
    assert off[2] < off[1] < off[0]


def test_a_grain_is_a_probability():
    x, exact = gaussian(64)
    grain = 0.01
    x = (x / grain).round() * grain
    found = log_prob(Gaussian(), Batch(x), Noise(2, tuple(range(64))), grain, 64, 1)
    assert (found.nats - (exact + 6 * math.log(grain))).abs().mean() < 0.3
    assert (found.nats < 0).all()


def mixed(x):
    """log density of the mixture of plane_toys."""
    far = torch.cdist(x.double(), CENTRES.double()).square() / SPREAD**2
    return torch.logsumexp(torch.tensor(SHARES).log() - 0.5 * far, 1) - math.log(2 * math.pi * SPREAD**2)


@pytest.mark.parametrize("objective", [Flow(probes=0), Diffusion(probes=0, output="residual", schedule="lognormal")])
def test_a_trained_model_knows_the_density_of_its_data(objective):
    nets = trained(objective)
    x = mixture(5, 200)
    with torch.inference_mode():
        found = objective.log_prob(nets, Batch(x), Noise(3, tuple(range(200)))).nats
    exact = mixed(x)
    assert exact.mean() - 0.15 < found.mean() < exact.mean() + 0.05  # no model knows it better than itself
    away = objective.log_prob(nets, Batch(torch.full((4, 2), 1.6)), Noise(3, (0, 1, 2, 3))).nats
    assert away.mean() < found.mean() - 3


def test_the_error_is_that_of_the_probes():
    nets, x = trained(Flow(), steps=100), mixture(5, 20)

    def nats(key, probes):
        found = Flow(probes=probes).log_prob(nets, Batch(x), Noise(key, tuple(range(20))))
        return found.nats, found.error

    many = torch.stack([nats(key, 4)[0] for key in range(12)])
    _, error = nats(99, 4)
    assert 0.4 < float(many.std(0).mean() / error.mean()) < 2.5
    assert nats(0, 1)[1] is None


def test_a_score_is_of_the_sample_alone():
    nets, x = trained(Flow(), steps=50), mixture(5, 8)
    many = Flow().log_prob(nets, Batch(x), Noise(1, tuple(range(8)))).nats
    alone = Flow().log_prob(nets, Batch(x[3:4]), Noise(1, (3,))).nats
    torch.testing.assert_close(alone, many[3:4], atol=1e-4, rtol=1e-4)
    assert PLANE.cells == 2


def test_the_path_leads_back():
    nets, x = trained(Flow()), mixture(5, 100)
    with torch.inference_mode():
        z = Flow(looks=64).invert(nets, Batch(x))
    assert z.std() == pytest.approx(1, abs=0.2)
    again = Ode(steps=200, method="heun")(Flow().predictor(nets), PLANE, Cond(), Noise(0, tuple(range(100)), z))
    assert (again - x).norm(dim=1).median() < 0.02
