"""Cross-entropy through noise: the closed form of a toy, what nothing is said of, and why nothing can be drawn."""

import pytest
import torch
import torch.nn.functional as F
import toys
from torch import nn

from genus.conditions.label import LabelConfig
from genus.core import Batch, Cond, Network, Noise, Space
from genus.errors import NoLikelihood, UsageError
from genus.networks.pooled import PooledConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.classification import Classification

LINE = Space((), 1)


class Odds(Network):
    """A perceptron of (x_t, t) on the line."""

    def __init__(self):
        super().__init__()
        self.space = LINE
        self.layers = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 4))

    def forward(self, x, t=None, cond=Cond(), state=None):
        return self.layers(torch.cat([x, t[:, None], (x * (1 - t[:, None]))], 1))


def nets():
    torch.manual_seed(0)
    label = LabelConfig(labels=(("left", 1), ("right", 3)), width=4).build(LINE)
    return nn.ModuleDict({"net": Odds(), "conditioner": label})


def batch(n, seed=0):
    """A quarter at -1, the rest at 1, each with a spread of 0.5."""
    draw = torch.Generator().manual_seed(seed)
    right = torch.rand(n, generator=draw) < 0.75
    x = torch.where(right, 1.0, -1.0) + 0.5 * torch.randn(n, generator=draw)
    return Batch(x[:, None], {"label": ["right" if r else "left" for r in right.tolist()]})


def test_it_learns_the_posterior_at_every_time():
    found, objective, pool = nets(), Classification(), 8192
    data = batch(pool)
    draws = objective.draws(found, data, "main", Noise(1, tuple(range(pool))))
    optimiser = torch.optim.Adam(found.parameters(), lr=1e-2)
    for step in range(400):
        rows = torch.arange(step * 256, step * 256 + 256) % pool
        part = Batch(data.x[rows])
        loss, _ = objective.loss(found, part, {k: v[rows] for k, v in draws.items()}, "main")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / 400)
    for time in (0.1, 0.5, 0.9):
        x, t = torch.linspace(-2, 2, 9)[:, None], torch.full((9,), time)
        spread = (1 - time) ** 2 * 0.25 + time**2
        exact = torch.sigmoid(2 * (1 - time) * x[:, 0] / spread + torch.tensor(3.0).log())  # p(right | x_t)
        said = objective.predictor(found)(x, t).detach().exp()
        torch.testing.assert_close(said.sum(1), torch.ones(9))
        assert (said[:, 1] - exact).abs().max() < 0.06


def test_the_loss_is_cross_entropy_and_what_is_not_said_takes_no_part():
    found, objective, data = nets(), Classification(), batch(8)
    said = [*data.fields["label"][:6], None, None]
    part = Batch(data.x, {"label": said})
    draws = objective.draws(found, part, "main", Noise(1, tuple(range(8))))
    assert draws["y"].tolist()[6:] == [-1, -1]
    loss, metrics = objective.loss(found, part, draws, "main")
    t = draws["t"][:, None]
    logits = found["net"]((1 - t) * data.x + t * draws["e"], draws["t"]) @ found["conditioner"].embedding.weight[:2].mT
    torch.testing.assert_close(loss, F.cross_entropy(logits[:6], draws["y"][:6]))
    right = (logits[:6].argmax(1) == draws["y"][:6]).float().mean()
    torch.testing.assert_close(metrics["found"], right)
    other = Batch(torch.cat([data.x[:6], data.x[6:] + 9]), {"label": said})
    assert torch.equal(objective.loss(found, other, draws, "main")[0], loss)


def test_half_a_batch_and_half_a_batch_are_the_whole(tmp_path):
    inside = TransformerConfig(depth=1, width=32, head=16, causal=False, timed=True)
    phase = toys.image_phase().but(
        nets={"net": PooledConfig(inside=inside, width=32, patch=2)}, objective=Classification()
    )
    whole, halves = (
        toys.loop(phase, tmp_path / "a"),
        toys.loop(phase.but(training=toys.training(micro=4)), tmp_path / "b"),
    )
    for _ in range(3):
        one, two = whole.step(), halves.step()
        assert one == pytest.approx(two, rel=1e-4)


def test_nothing_is_drawn_and_labels_are_needed():
    objective = Classification()
    with pytest.raises(UsageError, match="draws nothing"):
        next(objective.sampler().stream(objective.predictor(nets()), LINE, Cond(), Noise(0)))
    with pytest.raises(NoLikelihood, match="which label"):
        objective.log_prob(nets(), batch(2), Noise(0, (0, 1)))
    with pytest.raises(UsageError, match=r"give its phase such a conditioner: conditions\.label"):
        objective.draws({"net": Odds()}, batch(2), "main", Noise(0, (0, 1)))
