"""The vectors of a contrastive phase as x: calibrated, kept with the run, learned by a prior that a decoder asks."""

import shutil

import numpy as np
import pytest
import torch
import toys

from genus.conditions.text import TextConfig
from genus.core import Noise
from genus.errors import UsageError
from genus.learned.drawn import DrawnConfig
from genus.learned.embedding import EmbeddingConfig
from genus.networks.affine import AffineConfig
from genus.networks.pooled import PooledConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.contrastive import Contrastive
from genus.run import Run, assemble, save
from genus.samplers.ode import Ode
from genus.train.budget import budget
from genus.train.stage import train

TEXT = TextConfig(encoder=TransformerConfig(depth=1, width=16, head=16), width=12)
INSIDE = TransformerConfig(depth=1, width=32, head=16, causal=False)


def clip():
    return toys.image_phase().but(
        name="clip",
        nets={"net": PooledConfig(inside=INSIDE, width=32, patch=2), "logits": AffineConfig(scale=10)},
        conditioner=TEXT.but(tokens=False, dropout=0.0),
        objective=Contrastive(),
    )


@pytest.fixture
def place(tmp_path):
    phase = clip()
    phase = phase.but(conditioner=phase.conditioner.fit(lambda: iter([{"caption": "a"}, {"caption": "b"}])))
    torch.manual_seed(0)
    save(assemble(phase, phase.codec.load(tmp_path)), phase, tmp_path / "clip")
    return tmp_path / "clip"


def test_vectors_are_calibrated_and_kept_with_the_codec(place, tmp_path):
    pictures = toys.pictures(60)
    codec = EmbeddingConfig(phase="clip").after({"clip": place}).fit(lambda: iter(pictures))
    stored = torch.stack(codec.encode(pictures))
    assert stored.shape == (60, *codec.space.shape) == (60, 12, 1) and codec.space.vocab is None
    torch.testing.assert_close(stored.square().sum(1), torch.ones(60, 1))
    x = codec.lift(stored)
    assert x.mean(0).abs().max() < 1e-3 and (x.std(0) - 1).abs().max() < 1e-3
    for a, b in zip(codec.decode(x), codec.like(pictures), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    again = codec.save(tmp_path / "run")
    shutil.rmtree(place)
    assert again.place is None
    other = again.load(tmp_path / "run")
    assert other.definition == codec.definition and torch.equal(other.lift(stored), x)


def test_a_model_without_vectors_has_no_embedding(tmp_path):
    phase = toys.image_phase()
    torch.manual_seed(0)
    save(assemble(phase, phase.codec.load(tmp_path)), phase, tmp_path / "flow")
    with pytest.raises(UsageError, match=r"objectives\.flow learns no vectors of items"):
        EmbeddingConfig(phase="flow").after({"flow": tmp_path / "flow"}).fit(lambda: iter(toys.pictures(4)))
    with pytest.raises(UsageError, match="'clip'; phases before this one: none"):
        EmbeddingConfig(phase="clip").after({})


def test_three_phases_with_one_command(tmp_path):
    net = TransformerConfig(depth=1, width=32, head=16, causal=False, timed=True)
    prior = toys.image_phase().but(
        name="prior", codec=EmbeddingConfig(phase="clip"), nets={"net": net}, conditioner=TEXT, sampler=Ode(steps=3)
    )
    decoder = toys.image_phase().but(name="decoder", conditioner=DrawnConfig(phase="prior"), sampler=Ode(steps=3))
    recipe = toys.recipe(clip(), prompt="caption").but(phases=(clip(), prior, decoder))
    run = train(recipe, toys.dataset(tmp_path / "data", "image", 60), tmp_path / "run", budget("18 steps"))
    for gone in ("phases", "plans", "checkpoints"):
        shutil.rmtree(run.path / gone)
    again = Run(run.path)
    made = again.generate("dark", n=3, seed=2)
    assert np.array_equal(again.generate("dark", n=2, seed=2)[1], made[1])
    assert not np.array_equal(again.generate("light", n=3, seed=2)[1], made[1])  # the prior hears it
    # Variations: the embedding of an item in place of one that is drawn.
    model, noise = again.model(), Noise(1, (0, 1))
    first, other = ({"x of prior": [p, p]} for p in toys.pictures(2))
    a, b = model.generate(noise, first), model.generate(noise, other)
    assert not np.array_equal(a[0], a[1]) and not np.array_equal(a[0], b[0])
    assert np.array_equal(model.generate(noise.part(1, 2), {"x of prior": first["x of prior"][1:]})[0], a[1])
