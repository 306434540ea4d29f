"""A model's own samples as data: drawn once, the same after a kill, and paths that four steps can follow."""

import pytest
import torch
import toys

from genus import files
from genus.core import Noise
from genus.errors import UsageError
from genus.learned.rollouts import KEY, RolloutsConfig
from genus.run import assemble, load_model, save
from genus.train.budget import budget
from genus.train.loop import Loop
from genus.train.stage import train


@pytest.fixture
def place(tmp_path):
    phase = toys.image_phase()
    torch.manual_seed(0)
    save(assemble(phase, phase.codec.fit(lambda: iter(toys.pictures(4)))), phase, tmp_path / "first")
    return tmp_path / "first"


def source(place, **knobs):
    return RolloutsConfig(phase="flow", number=20, held=6, knobs={"steps": 3, **knobs}).after({"flow": place})


def test_pairs_are_what_the_model_draws(place):
    batch = source(place).over(None, None, 0, 8).batch(0)
    model, _ = load_model(place)
    noise = Noise(KEY, tuple(int(i) for i in batch.ids))
    assert torch.equal(batch.extra["e"], noise.normal(0, batch.x.shape[1:]))
    *_, again = model.stream(noise, batch.fields, steps=3)
    torch.testing.assert_close(batch.x, again, atol=2e-3, rtol=0)


def test_they_are_drawn_once_and_again_if_asked_otherwise(place):
    first = source(place).over(None, None, 0, 8).batch(3)
    written = (place / "rollouts.safetensors").stat().st_mtime_ns
    assert torch.equal(source(place).over(None, None, 0, 8).batch(3).x, first.x)
    assert (place / "rollouts.safetensors").stat().st_mtime_ns == written
    other = source(place, steps=5).over(None, None, 0, 8).batch(3)
    assert other.ids == first.ids and not torch.equal(other.x, first.x)


def test_what_judges_is_not_trained_on(place):
    judged = [i for batch in source(place).judged(None, None, 4) for i in batch.ids]
    trained = {i for step in range(10) for i in source(place).over(None, None, 0, 8).batch(step).ids}
    assert judged == [str(i) for i in range(20, 26)] and trained == {str(i) for i in range(20)}


def recipe():
    first = toys.image_phase()
    again = first.but(
        name="reflow", start="flow", source=RolloutsConfig(phase="flow", number=24, held=8, knobs={"steps": 3})
    )
    return toys.recipe(first).but(phases=(first, again))


@pytest.mark.parametrize("at", [0, 5])
def test_a_phase_that_starts_from_another_ends_the_same_after_a_kill(at, tmp_path, monkeypatch):
    data = toys.dataset(tmp_path / "data", "image", 40)
    run = train(recipe(), data, tmp_path / "run", budget("16 steps"))
    step = Loop.step

    def stopped(loop):
        loop.checkpoint_every = 0.0
        if loop.name == "reflow" and loop.at.step == at:
            raise KeyboardInterrupt
        return step(loop)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), data, tmp_path / "again", budget("16 steps"))
    again = train(recipe(), data, tmp_path / "again", budget("16 steps"))
    for part in ("model.safetensors", "config.json"):
        assert files.sha256(run.path / part) == files.sha256(again.path / part)
    assert len(run.score(toys.pictures(2))) == 2  # real items are what it is scored on


def test_it_starts_with_the_weights_of_the_first(tmp_path, monkeypatch):
    data = toys.dataset(tmp_path / "data", "image", 40)
    seen = {}
    resume = Loop.resume

    def looked(loop):
        seen[loop.name] = {k: v.clone() for k, v in loop.weights().items()}
        return resume(loop)

    monkeypatch.setattr(Loop, "resume", looked)
    run = train(recipe(), data, tmp_path / "run", budget("16 steps"))
    first = load_model(run.path / "phases" / "flow")[0].nets.state_dict()
    assert seen["reflow"].keys() <= first.keys()
    assert all(torch.equal(first[name], value) for name, value in seen["reflow"].items())


def test_a_phase_that_is_not_there(tmp_path, place):
    with pytest.raises(UsageError, match="phases before this one: none"):
        RolloutsConfig(phase="flow").after({})
    lost = toys.image_phase().but(start="nowhere")
    with pytest.raises(UsageError, match="starts from 'nowhere'; phases before it: none"):
        train(toys.recipe(lost), toys.dataset(tmp_path / "d", "image", 40), tmp_path / "r", budget("4 steps"))
