"""A trained autoencoder as a codec: calibrated, whole by itself; two phases with one command, killed between or not."""

import shutil

import numpy as np
import pytest
import torch
import toys

from genus import files
from genus.errors import UsageError
from genus.learned.codec import LearnedConfig
from genus.networks.autoencoder import AutoencoderConfig
from genus.networks.bottlenecks import NormalConfig, RoundedConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoencoding import Autoencoding
from genus.objectives.autoregression import Autoregression
from genus.recipes import with_codec
from genus.run import Run, assemble, save
from genus.samplers.tokens import Tokens
from genus.train.budget import budget
from genus.train.loop import Loop
from genus.train.stage import train


def first(bottleneck=NormalConfig(channels=3)):
    return toys.image_phase().but(
        name="autoencoder",
        nets={"net": AutoencoderConfig(widths=(8, 8), bottleneck=bottleneck)},
        conditioner=None,
        objective=Autoencoding(),
    )


@pytest.fixture
def place(tmp_path):
    """A folder with a (hardly trained) model of continuous codes."""
    phase = first()
    torch.manual_seed(0)
    codec = phase.codec.fit(lambda: iter(toys.pictures(4)))
    save(assemble(phase, codec), phase, tmp_path / "first")
    return tmp_path / "first"


def test_codes_are_calibrated_and_kept_with_the_codec(place, tmp_path):
    pictures = toys.pictures(40)
    config = LearnedConfig().after({"autoencoder": place})
    codec = config.fit(lambda: iter(pictures))
    x = torch.stack([codec.lift(code) for code in codec.encode(pictures)])
    assert x.shape == (40, *codec.space.shape) == (40, 3, 4, 4)
    assert x.movedim(1, 0).flatten(1).mean(1).abs().max() < 0.02
    assert (x.movedim(1, 0).flatten(1).std(1) - 1).abs().max() < 0.02

    saved = codec.save(tmp_path / "run")
    shutil.rmtree(place)
    again = saved.load(tmp_path / "run")
    assert saved.place is None and again.definition == codec.definition
    for a, b in zip(codec.decode(x[:3]), again.decode(x[:3]), strict=True):
        assert a.dtype == np.uint8 and np.array_equal(a, b)


def test_it_is_told_its_phase(place):
    with pytest.raises(UsageError, match="'autoencoder'; phases before this one: none"):
        LearnedConfig().after({})
    with pytest.raises(UsageError, match="phases before this one: codes"):
        LearnedConfig().after({"codes": place})


def test_a_model_without_codes_is_no_codec(tmp_path):
    phase = toys.image_phase()
    torch.manual_seed(0)
    save(assemble(phase, phase.codec.fit(lambda: iter(toys.pictures(4)))), phase, tmp_path / "flow")
    with pytest.raises(UsageError, match="learns no code"):
        LearnedConfig(place=str(tmp_path / "flow")).fit(lambda: iter(toys.pictures(4)))


def recipe():
    codes = toys.image_phase().but(
        name="prior",
        codec=LearnedConfig(),
        nets={"net": TransformerConfig(depth=2, width=32, head=16)},
        objective=Autoregression(ends=False),
        sampler=Tokens(ends=False),
    )
    return toys.recipe(first(RoundedConfig(levels=(4, 4)))).but(phases=(first(RoundedConfig(levels=(4, 4))), codes))


def test_two_phases_with_one_command(tmp_path):
    data = toys.dataset(tmp_path / "data", "image", 60)
    run = train(recipe(), data, tmp_path / "run", budget("24 steps"))
    assert [report["phase"] for report in run.summary["phases"]] == ["autoencoder", "prior"]
    assert run.summary["steps"] == 12 and run.model().space.vocab == 16
    shutil.rmtree(run.path / "phases")  # the run is whole without them
    pictures = Run(run.path).generate(n=3, seed=1)
    assert [p.shape for p in pictures] == [(8, 8, 1)] * 3
    assert np.array_equal(pictures[1], Run(run.path).generate(n=2, seed=1)[1])


@pytest.mark.parametrize(("name", "at"), [("autoencoder", 7), ("prior", 0), ("prior", 5)])
def test_killed_in_either_phase_it_ends_with_the_same_weights(name, at, tmp_path, monkeypatch):
    data = toys.dataset(tmp_path / "data", "image", 60)
    run = train(recipe(), data, tmp_path / "run", budget("24 steps"))
    step = Loop.step

    def stopped(loop):
        loop.checkpoint_every = 0.0
        if loop.name == name and loop.at.step == at:
            raise KeyboardInterrupt
        return step(loop)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), data, tmp_path / "again", budget("24 steps"))
    again = train(recipe(), data, tmp_path / "again", budget("24 steps"))
    for part in ("model.safetensors", "codec/model.safetensors"):
        assert files.sha256(run.path / part) == files.sha256(again.path / part)


def test_a_codec_is_used_again(tmp_path):
    data = toys.dataset(tmp_path / "data", "image", 60)
    run = train(recipe(), data, tmp_path / "run", budget("24 steps"))
    alone = train(toys.recipe(first(RoundedConfig(levels=(4, 4)))), data, tmp_path / "alone", budget("12 steps"))
    for place, model in ((run.path, run.path / "codec"), (alone.path, alone.path)):
        second = with_codec(recipe(), place)
        assert [phase.name for phase in second.phases] == ["prior"]
        made = train(second, data, tmp_path / f"of {place.name}", budget("4 steps"))
        assert files.sha256(made.path / "codec/model.safetensors") == files.sha256(model / "model.safetensors")
        assert "place" not in str(made.phase.codec.model_dump(exclude_none=True))


def test_what_has_no_codec_gives_none(tmp_path):
    with pytest.raises(UsageError, match="learns no codec"):
        with_codec(toys.recipe(toys.image_phase()), tmp_path)
    with pytest.raises(UsageError, match="has no trained codec"):
        with_codec(recipe(), tmp_path)
