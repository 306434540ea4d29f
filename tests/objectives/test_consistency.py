"""A pair as wide as the path is denoising, a narrow one leads one look to the end of it."""

import pytest
import torch
from plane_toys import PLANE, Small, energy, mixture, trained
from torch import nn

from genus.core import Batch, Cond, Noise
from genus.objectives.consistency import Consistency
from genus.objectives.flow import Flow
from genus.samplers.ode import Ode


def small():
    torch.manual_seed(0)
    return nn.ModuleDict({"net": Small()})


def gradients(objective, nets, batch, noise):
    nets.zero_grad()
    loss, metrics = objective.loss(nets, batch, objective.draws(nets, batch, "main", noise), "main")
    loss.backward()
    return loss.detach(), torch.cat([w.grad.flatten() for w in nets.parameters()]), metrics


@pytest.mark.parametrize("output", ["x", "velocity", "residual"])
def test_the_widest_pair_is_denoising(output):
    nets, batch, noise = small(), Batch(mixture(1, 64)), Noise(1, tuple(range(64)))
    wide = gradients(Consistency(output=output, gap=1.0), nets, batch, noise)
    flow = gradients(Flow(output=output, spread=Consistency().spread), nets, batch, noise)
    torch.testing.assert_close(wide[:2], flow[:2])
    assert wide[2].keys() == {"loss", "error"}


def test_the_later_time_is_told_no_gradient():
    nets, batch, noise = small(), Batch(mixture(1, 64)), Noise(1, tuple(range(64)))
    objective = Consistency(gap=0.3)
    draws = objective.draws(nets, batch, "main", noise)
    torch.testing.assert_close(draws["r"], draws["t"] - (0.3 * draws["t"].clamp(min=0.2)).minimum(draws["t"]))
    predict, t, r = objective.predictor(nets), draws["t"][:, None], draws["r"][:, None]
    said = predict((1 - t) * batch.x + t * draws["e"], draws["t"])
    later = predict((1 - r) * batch.x + r * draws["e"], draws["r"]).detach()
    later[draws["r"] == 0] = batch.x[draws["r"] == 0]
    loss = ((said - later).square() / t.clamp(min=objective.floor) ** 2).mean()
    nets.zero_grad()
    loss.backward()
    own = torch.cat([w.grad.flatten() for w in nets.parameters()])
    torch.testing.assert_close(gradients(objective, nets, batch, noise)[:2], (loss.detach(), own.clone()))


def test_the_gap_shrinks_by_the_same_factor():
    objective = Consistency(first=0.8, gap=0.05)
    gaps = [objective.at(p).gap for p in (0.0, 0.5, 1.0)]
    assert gaps == pytest.approx([0.8, 0.2, 0.05])
    assert objective.gap == 0.05 and objective.at(1.0) == objective


def test_one_look_is_a_sample():
    """A denoiser's one look is the mean of the data; two looks with new noise between them mend what one misses."""
    objective = Consistency(gap=0.1)
    nets = trained(objective, 800)
    predict, noise = objective.predictor(nets), Noise(7, tuple(range(1500)))
    real, other = mixture(8, 1500), mixture(9, 1500)
    one, four = (Ode(steps=n, method="anew")(predict, PLANE, Cond(), noise) for n in (1, 4))
    assert energy(one, real) < 0.05 + energy(other, real)
    assert energy(four, real) < 0.02 + energy(other, real)
    assert energy(one.mean(0).expand(8, 2), real) > 0.5  # where a denoiser's one look ends


def test_eight_are_two_times_four():
    nets, objective, batch, noise = small(), Consistency(), Batch(mixture(1, 8)), Noise(4, tuple(range(8)))
    whole = gradients(objective, nets, batch, noise)
    halves = [gradients(objective, nets, batch.part(i, i + 4), noise.part(i, i + 4)) for i in (0, 4)]
    torch.testing.assert_close(whole[1], torch.stack([grad for _, grad, _ in halves]).mean(0))
