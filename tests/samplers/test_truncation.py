"""The mean style, the way towards it, and who has none."""

import pytest
import torch

from genus.core import Cond, Noise, Roads, Space
from genus.errors import UsageError
from genus.networks.style import GeneratorConfig
from genus.objectives.adversarial import FromStyle
from genus.samplers.truncation import Truncation


def predictor(roads=Roads()):
    torch.manual_seed(0)
    return FromStyle(GeneratorConfig(latent=4, style=6, width=4).build(Space((6,), 1), roads))


def test_all_of_it_changes_nothing():
    predict = predictor()
    assert Truncation()(predict, None) is predict
    assert Truncation()(lambda x: x, None)(3) == 3  # and asks for no styles


def test_none_of_it_is_one_sample_a_condition():
    predict = Truncation(psi=0)(predictor(Roads(vector=3)), None)
    assert predict.latent == (4,) and predict.start(2, 6) is None
    vectors = torch.eye(3)[[0, 1, 0]]
    x = predict(Noise(1, (0, 1, 2)).normal(0, (4,)), cond=Cond(vector=vectors))
    torch.testing.assert_close(x[0], x[2])
    assert (x[0] - x[1]).abs().max() > 1e-3


def test_the_mean_is_that_of_the_styles():
    whole, z = predictor(), Noise(1, tuple(range(4000))).normal(0, (4,))
    mean = Truncation(psi=0.5)(whole, None).mean(Cond(), torch.device("cpu"))
    styles = whole.mapping(z, Cond())
    assert mean.shape == (1, 6)
    assert (mean - styles.mean(0)).abs().max() < 4 * styles.std(0).max() / 256**0.5
    halved = Truncation(psi=0.5)(whole, None)(z[:3])
    torch.testing.assert_close(halved, whole.synthesis(mean + 0.5 * (styles[:3] - mean)))


def test_a_model_without_styles_is_refused():
    with pytest.raises(UsageError, match=r"truncation = 0\.5 .* leave it out"):
        Truncation(psi=0.5)(lambda x: x, None)
