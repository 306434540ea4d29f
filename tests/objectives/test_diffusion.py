"""Outputs that are one model, weights that are known losses, and a mixture of known density in every formulation."""

import pytest
import torch
from plane_toys import CENTRES, PLANE, SHARES, energy, mixture, trained

from genus.core import Batch, Cond, Network, Noise
from genus.objectives.denoising import LATEST, Clean
from genus.objectives.diffusion import Diffusion
from genus.samplers.ode import Ode


class Oracle(Network):
    """Says what each output should be where the data is always `value`."""

    def __init__(self, output, value):
        super().__init__()
        self.space, self.output, self.value = PLANE, output, value

    def forward(self, x, t=None, cond=Cond(), state=None):
        t = t[:, None]
        size = ((1 - t) ** 2 + t**2).sqrt()
        alpha, sigma = (1 - t) / size, t / size
        e = (x - alpha * self.value) / sigma
        return e if self.output == "noise" else alpha * e - sigma * self.value


@pytest.mark.parametrize("output", ["noise", "v"])
def test_variance_preserving_outputs_are_read_as_clean_x(output):
    value = torch.tensor([0.3, -0.8])
    predict = Clean({"net": Oracle(output, value)}, output, 0.5)
    x, t = torch.randn(64, 2), torch.linspace(0.01, 0.99, 64)
    torch.testing.assert_close(predict(x, t), value.expand(64, 2), atol=1e-3, rtol=0)
    assert predict(x, torch.ones(64)).isfinite().all()  # pure noise is read too


class Zero(Network):
    def __init__(self):
        super().__init__()
        self.space = PLANE

    def forward(self, x, t=None, cond=Cond(), state=None):
        self.seen = x
        return torch.zeros_like(x)


@pytest.mark.parametrize("output", ["x", "velocity", "residual", "noise", "v"])
def test_the_own_weight_is_the_loss_of_the_output(output):
    """A network that says nothing: its loss is the mean square of what it should have said."""
    x, scale = torch.randn(512, 2), 0.5
    diffusion = Diffusion(output=output, scale=scale)
    draws = diffusion.draws({}, Batch(x), "main", Noise(1, tuple(range(512))))
    loss, _ = diffusion.loss({"net": Zero()}, Batch(x), draws, "main")
    t, e = draws["t"][:, None], draws["e"]
    size = ((1 - t) ** 2 + t**2).sqrt()
    data = ((1 - t) ** 2 * scale**2 + t**2).sqrt()
    should = {
        "x": x,
        "velocity": e - x,
        "residual": (x - (1 - t) * scale**2 / data**2 * ((1 - t) * x + t * e)) * data / (t * scale),
        "noise": e,
        "v": ((1 - t) * e - t * x) / size,
    }[output]
    torch.testing.assert_close(loss, should.square().mean(), rtol=2e-3, atol=0)


def test_min_snr_bounds_the_weight():
    x, net = torch.full((256, 2), 0.7), Zero()
    diffusion = Diffusion(output="x", weight="snr", gamma=5.0)
    draws = diffusion.draws({}, Batch(x), "main", Noise(1, tuple(range(256))))
    loss, _ = diffusion.loss({"net": net}, Batch(x), draws, "main")
    snr = ((1 - draws["t"]) / draws["t"]) ** 2
    torch.testing.assert_close(loss, (snr.clamp(max=5) * 0.49).mean())
    assert snr.max() > 50


def test_levels_follow_the_schedule():
    def drawn(**knobs):
        batch, noise = Batch(torch.zeros(4096, 2)), Noise(1, tuple(range(4096)))
        t = Diffusion(**knobs).draws({}, batch, "main", noise)["t"].double()
        assert t.min() > 0
        assert t.max() <= LATEST + 1e-7
        return t

    angle = torch.atan2(drawn(schedule="cosine"), 1 - drawn(schedule="cosine"))
    assert angle.mean() == pytest.approx(torch.pi / 4, abs=1e-3)
    assert angle.std() == pytest.approx(torch.pi / 2 / 12**0.5, rel=1e-2)
    logs = torch.logit(drawn(schedule="lognormal"))
    assert logs.mean() == pytest.approx(-1.2, abs=0.01)
    assert logs.std() == pytest.approx(1.2, rel=0.01)
    late = torch.logit(drawn(schedule="linear"))
    assert late.median() == pytest.approx(1.23, abs=0.02)  # step 500: alpha 0.279, sigma 0.960


@pytest.mark.parametrize(
    "knobs",
    [
        {"output": "v"},
        {"output": "noise", "schedule": "linear"},
        {"output": "residual", "schedule": "lognormal"},
        {"output": "v", "weight": "snr"},
    ],
)
def test_a_known_mixture_is_recovered(knobs):
    diffusion = Diffusion(**knobs)
    predict, noise = diffusion.predictor(trained(diffusion)), Noise(7, tuple(range(1500)))
    drawn = diffusion.sampler().but(steps=40)(predict, PLANE, Cond(), noise)
    real, other = mixture(8, 1500), mixture(9, 1500)
    assert energy(drawn, real) < 0.02 + energy(other, real)  # a flipped velocity: over 0.1
    nearest = torch.cdist(drawn, CENTRES).argmin(1)
    for i, share in enumerate(SHARES):
        assert (nearest == i).float().mean() == pytest.approx(share, abs=0.06)


def test_all_samplers_draw_from_one_trained_model():
    diffusion = Diffusion()
    predict, noise = diffusion.predictor(trained(diffusion)), Noise(7, tuple(range(1500)))
    real, other = mixture(8, 1500), mixture(9, 1500)
    for sampler in (
        Ode(method="euler", steps=100, spacing="cosine"),
        Ode(method="euler", eta=1.0, steps=100, spacing="linear"),
        Ode(method="heun", steps=20, spacing="karras"),
        Ode(method="heun", steps=40, spacing="karras", churn=20.0),
        Ode(method="multistep", steps=40),
    ):
        drawn = sampler(predict, PLANE, Cond(), noise)
        assert energy(drawn, real) < 0.01 + energy(other, real), sampler
