"""Guidance by an exact classifier makes the unconditional denoiser the conditional one; a learned one is borrowed."""

import shutil

import numpy as np
import pytest
import torch
import toys

from genus.conditions.label import LabelConfig
from genus.core import Cond, Noise, Space
from genus.errors import UsageError
from genus.learned.guide import LATEST, Guide, Guided
from genus.networks.pooled import PooledConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.classification import Classification
from genus.run import Run
from genus.samplers.guidance import Guidance
from genus.samplers.ode import Ode
from genus.train.budget import budget
from genus.train.stage import train

MEANS, SIZE = torch.tensor([-1.0, 0.4]), 0.3  # of two equal Gaussians on the line


def parts(x, t):
    """Of each component: log density of x_t, and the mean of x given x_t. x [B, 1, 1] -> [B, 2] each."""
    x, t = x.flatten(1), t[:, None]
    spread = (1 - t) ** 2 * SIZE**2 + t**2
    off = x - (1 - t) * MEANS
    return -0.5 * off**2 / spread - 0.5 * spread.log(), MEANS + (1 - t) * SIZE**2 / spread * off


class Mixture:
    """The exact predictor of the mixture."""

    def __call__(self, x, t=None, cond=Cond(), state=None):
        logs, means = parts(x, t)
        return (logs.softmax(1) * means).sum(1)[:, None, None]

    def start(self, batch, cells):
        return None


class Bayes:
    """The exact classifier."""

    def __call__(self, x, t=None, cond=Cond(), state=None):
        return parts(x, t)[0].log_softmax(1)

    def start(self, batch, cells):
        return None


def guided(y, scale=1.0):
    return Guided(Mixture(), Bayes(), torch.tensor(y), scale)


def test_at_scale_one_it_is_the_conditional_denoiser():
    y = [0, 1, 0, 1, -1, -1]
    for time in (0.05, 0.3, 0.7, LATEST):
        x, t = torch.linspace(-1.5, 1.5, 6)[:, None, None], torch.full((6,), time)
        with torch.no_grad():
            found = guided(y)(x, t).flatten()
        exact = [parts(x, t)[1][i, k] if k >= 0 else Mixture()(x, t)[i, 0, 0] for i, k in enumerate(y)]
        torch.testing.assert_close(found, torch.stack(exact), atol=2e-4, rtol=1e-3)


def test_samples_of_the_unconditional_model_follow_the_conditional():
    noise = Noise(5, tuple(range(2000)))
    for k in (0, 1):
        x = Ode(steps=60)(guided([k] * 2000), Space((1,), 1), Cond(), noise).flatten()
        assert abs(float(x.mean()) - MEANS[k]) < 0.03 and abs(float(x.std()) - SIZE) < 0.03
    free = Ode(steps=60)(Mixture(), Space((1,), 1), Cond(), noise).flatten()
    assert free.std() > 0.6  # it took the classifier


def test_more_of_it_is_sharper_and_none_is_none():
    x, t = torch.tensor([[[-0.2]], [[-0.2]]]), torch.tensor([0.5, 0.5])
    moved = [float(guided([1, 1], scale)(x, t)[0]) - float(Mixture()(x, t)[0]) for scale in (0.5, 1.0, 2.0)]
    assert moved[0] > 0 and moved[1] == pytest.approx(2 * moved[0]) and moved[2] == pytest.approx(4 * moved[0])
    assert Guide(scale=0.0)(Mixture(), None, {"label": ["a"]}).__class__ is Mixture
    assert Guide()(Mixture(), None, {}).__class__ is Mixture and Guide()(Mixture(), None).__class__ is Mixture


def test_inside_the_doubled_batch_of_another_guidance():
    """Both halves move alike, so their difference is as it was."""
    x, t, cond = torch.randn(3, 1, 1), torch.full((3,), 0.6), Cond(vector=torch.zeros(3, 1))
    both = Guidance(scale=4.0)(guided([0, 1, -1]), lambda batch: Cond(vector=torch.zeros(batch, 1)))
    torch.testing.assert_close(both(x, t, cond), guided([0, 1, -1])(x, t))


def test_what_has_no_times_is_not_guided():
    with pytest.raises(UsageError, match="this family has none"):
        guided([0])(torch.zeros(1, 1, 1))
    with pytest.raises(UsageError, match="'classifier'; phases before this one: none"):
        Guide().after({})


def recipe():
    flow = toys.image_phase()
    inside = TransformerConfig(depth=1, width=32, head=16, causal=False, timed=True)
    judge = flow.but(
        name="classifier",
        nets={"net": PooledConfig(inside=inside, width=32, patch=2)},
        conditioner=LabelConfig(labels=toys.LABELS, width=8, dropout=0.0),
        objective=Classification(),
    )
    drawn = flow.but(conditioner=None, wraps=(Guide(),), sampler=Ode(steps=8))
    return toys.recipe(flow).but(phases=(judge, drawn))


def test_an_unconditional_model_is_asked_by_its_classifier(tmp_path):
    run = train(recipe(), toys.dataset(tmp_path / "data", "image", 60), tmp_path / "run", budget("120 steps"))
    shutil.rmtree(run.path / "phases")
    shutil.rmtree(run.path / "plans")
    again = Run(run.path)
    # Light pictures grow lighter to the right, dark ones darker.
    light, dark = (rising(again.generate(name, n=24, seed=3, classifier=3.0)) for name in ("light", "dark"))
    assert light > dark + 0.4
    many = again.generate("light", n=3, seed=3)
    assert np.array_equal(again.generate("light", n=2, seed=3)[1], many[1])
    free = again.generate(n=3, seed=3)
    assert not np.array_equal(free, many) and np.array_equal(again.generate("light", n=3, seed=3, classifier=0), free)
    with pytest.raises(UsageError, match="'cat' is not a label of the training data; it has: dark, light"):
        again.generate("cat")


def rising(pictures):
    return np.mean([float(p[:, 4:].mean()) > float(p[:, :4].mean()) for p in pictures])
