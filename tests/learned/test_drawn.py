"""A condition that an earlier phase draws: true in training, drawn in sampling, whole by itself, kept after a kill."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import toys

from genus import files
from genus.codecs.bytes import BytesConfig
from genus.codecs.pixels import PixelsConfig
from genus.conditions.label import LabelConfig
from genus.core import Noise, Roads, Space
from genus.data.packed import PackedConfig
from genus.errors import NoLikelihood, UsageError
from genus.learned.drawn import TOLD, Drawn, DrawnConfig
from genus.learned.rollouts import RolloutsConfig
from genus.networks.convolutional import waves
from genus.run import Run, assemble, load_model, save
from genus.samplers.guidance import Guidance
from genus.samplers.ode import Ode
from genus.train.budget import budget
from genus.train.loop import Loop
from genus.train.stage import train
from genus.validate.subject import Subject

LABELS = ["light", "dark", "light", None]
NOISE = Noise(3, (0, 1, 2, 3))
FEW = Ode(steps=3)


def first(**changes):
    return toys.image_phase(**changes).but(
        name="base", codec=PixelsConfig(height=4, width=4, channels=1), sampler=FEW, wraps=(Guidance(scale=2.0),)
    )


def second(**knobs):
    labels = LabelConfig(labels=toys.LABELS, width=8)
    return toys.image_phase().but(
        name="large", conditioner=DrawnConfig(phase="base", inside=labels, **knobs), sampler=FEW
    )


def saved(phase, folder):
    torch.manual_seed(0)
    model = assemble(phase, phase.codec.load(folder))
    for p in model.nets.parameters():  # at its start a network says nothing
        torch.nn.init.normal_(p, std=0.2)
    save(model, phase, folder)
    return folder


@pytest.fixture
def place(tmp_path):
    return saved(first(), tmp_path / "base")


def model_of(phase, place):
    torch.manual_seed(1)
    model = assemble(phase.after({"base": place}), phase.codec.load(place), "label")
    for p in model.nets["net"].parameters():
        torch.nn.init.normal_(p, std=0.1)
    model.nets.eval()
    return model


def x_of(model, n=4):
    pictures = toys.pictures(n)
    return pictures, model.codec.lift(torch.stack(model.codec.encode(pictures)))


class TestInTraining:
    def test_it_is_what_the_earlier_codec_makes_of_the_item(self, place):
        model = model_of(second(), place)
        pictures, x = x_of(model)
        cond = model.condition({"label": LABELS}, 4, x)
        base, _ = load_model(place)
        small = base.codec.lift(torch.stack(base.codec.encode(pictures)))
        assert small.shape == (4, 1, 4, 4)
        torch.testing.assert_close(cond.grid, F.interpolate(small, (8, 8), mode="bilinear"))
        label = model.conditioner.inside({"label": LABELS}).vector
        assert torch.equal(cond.vector, torch.cat([label, waves(torch.zeros(4))], 1)) and cond.tokens is None
        assert model.conditioner.roads == Roads(8 + TOLD, None, 1)

    def test_noise_of_a_level_that_is_told(self, place):
        model = model_of(second(most=0.6), place)
        _, x = x_of(model)
        clean, noised = (model.condition({"label": LABELS}, 4, x, noise) for noise in (None, NOISE))
        s = (NOISE.child("augmentation").uniform(0) * 0.6).float()
        assert torch.equal(noised.vector[:, 8:], waves(s)) and len(s.unique()) == 4
        e = F.interpolate(NOISE.child("augmentation").normal(1, (1, 4, 4)), (8, 8), mode="bilinear")
        s = s[:, None, None, None]
        torch.testing.assert_close(noised.grid, (1 - s) * clean.grid + s * e, atol=1e-5, rtol=0)
        alone = model.condition({"label": LABELS[1:2]}, 1, x[1:2], NOISE.part(1, 2))
        assert torch.equal(alone.grid[0], noised.grid[1]) and torch.equal(alone.vector[0], noised.vector[1])

    def test_without_noise_no_level_is_told(self, place):
        model = model_of(second(most=0.0, level=0.0), place)
        _, x = x_of(model)
        assert model.conditioner.roads == Roads(8, None, 1)
        given = [model.condition({"label": LABELS}, 4, x, noise).grid for noise in (None, NOISE)]
        assert torch.equal(*given)

    def test_the_earlier_model_is_not_trained(self, place):
        model = model_of(second(), place)
        assert {name.split(".")[1] for name in model.nets["conditioner"].state_dict(prefix="x.")} == {"inside"}


class TestInSampling:
    def test_it_is_what_the_earlier_model_draws_for_what_was_asked(self, place):
        model = model_of(second(level=0.0), place)
        base, _ = load_model(place)
        drawn = model.conditioner.draw(NOISE, {"label": LABELS})
        *_, small = base.stream(NOISE.child("earlier"), {"label": LABELS})
        assert drawn["label"] == LABELS and torch.equal(torch.stack(drawn["x of base"]), small)
        *_, other = base.stream(NOISE.child("earlier"), {"label": ["dark"] * 4})
        assert (small[0] - other[0]).abs().max() > 1e-3  # what was asked is heard by the earlier model

    def test_noise_of_the_level_and_no_twice(self, place):
        clean, blurred = (model_of(second(level=level), place).conditioner for level in (0.0, 0.3))
        a, b = (torch.stack(c.draw(NOISE, {"label": LABELS})["x of base"]) for c in (clean, blurred))
        e = NOISE.child("augmentation").normal(1, (1, 4, 4))
        torch.testing.assert_close(b, 0.7 * a + 0.3 * e)
        asked = blurred.draw(NOISE, {"label": LABELS})
        again = blurred.draw(NOISE, asked)
        assert all(torch.equal(p, q) for p, q in zip(asked["x of base"], again["x of base"], strict=True))
        cond = blurred(asked)
        assert torch.equal(cond.vector[:, 8:], waves(torch.full((4,), 0.3)))
        torch.testing.assert_close(cond.grid, F.interpolate(b, (8, 8), mode="bilinear"))

    def test_a_sample_is_the_same_alone_and_in_company(self, place):
        model = model_of(second(), place)
        many = model.generate(Noise(7, tuple(range(6))), {"label": ["dark"] * 6})
        assert np.array_equal(model.generate(Noise(7, (4,)), {"label": ["dark"]})[0], many[4])
        free = model.generate(Noise(7, tuple(range(6))))  # nothing asked: labels are drawn, of both phases the same
        assert np.array_equal(model.generate(Noise(7, (2,)))[0], free[2])

    def test_a_small_picture_may_be_given(self, place):
        model = model_of(second(level=0.0), place)
        pictures, x = x_of(model)
        asked = {"label": LABELS, "x of base": pictures}
        given = torch.stack(list(model.stream(NOISE, asked))[-1:])[0]
        cond = model.condition({"label": LABELS}, 4, x)
        torch.testing.assert_close(given, model.sampler(model.predictor()[0], model.space, cond, NOISE))

    def test_guidance_leaves_the_grid(self, place):
        model = model_of(second(), place)
        _, x = x_of(model)
        cond, t = model.condition({"label": LABELS}, 4, x), torch.full((4,), 0.5)
        free = cond.join(model.conditioner.null(4)).map(lambda road: road[4:])
        assert torch.equal(free.grid, cond.grid) and not torch.equal(free.vector, cond.vector)
        predict = model.objective.predictor(model.nets)
        with torch.no_grad():
            guided = Guidance(scale=3.0)(predict, model.conditioner.null)(x, t, cond)
            torch.testing.assert_close(guided, 3 * predict(x, t, cond) - 2 * predict(x, t, free), atol=1e-4, rtol=1e-4)
        deaf = model_of(second().but(conditioner=DrawnConfig(phase="base")), place)
        assert deaf.conditioner.null(2).empty and Guidance(scale=3.0)(predict, deaf.conditioner.null) is predict


class TestVector:
    @pytest.fixture
    def drawn(self, tmp_path):
        """A condition of one cell."""
        place = saved(first(), tmp_path / "base")
        labels = LabelConfig(labels=toys.LABELS, width=8, dropout=0.5)
        config = DrawnConfig(phase="base", inside=labels, dropout=0.2).after({"base": place})
        model, _ = load_model(place)
        object.__setattr__(model, "space", Space((1,), 16))  # its codec's pixels, seen as one cell
        torch.manual_seed(0)
        return Drawn(config, model, Space((8, 8), 1))

    def test_it_stands_behind_what_is_inside(self, drawn):
        pictures = toys.pictures(4)
        cond = drawn({"label": LABELS, "x of base": pictures})
        codec = drawn.model.codec
        assert drawn.roads == Roads(8 + TOLD + 16, None, None) and cond.grid is None
        x = codec.lift(torch.stack(codec.encode(pictures))).flatten(1)
        assert torch.equal(cond.vector[:, -16:], x) and torch.equal(
            cond.vector[:, :8], drawn.inside({"label": LABELS}).vector
        )

    def test_what_drops_the_vector_drops_what_is_inside(self, drawn):
        noise = Noise(1, tuple(range(400)))
        cond = drawn({"label": ["dark"] * 400, "x of base": toys.pictures(4) * 100}, noise)
        null = drawn.null(1).vector
        vector, label = ((cond.vector[:, part] == null[:, part]).all(1) for part in (slice(-16, None), slice(0, 8)))
        assert 50 < int(vector.sum()) < 110 and 160 < int(label.sum()) < 240 and not bool((vector & ~label).any())


class TestErrors:
    def test_it_is_told_its_phase(self, place):
        with pytest.raises(UsageError, match="'base'; phases before this one: other"):
            second().after({"other": place})

    def test_no_more_noise_than_was_trained(self):
        with pytest.raises(UsageError, match=r"level = 0\.7 is more noise than training adds; most = 0\.5"):
            DrawnConfig(phase="base").but(level=0.7)

    def test_what_is_no_condition(self, tmp_path, place):
        phase = toys.text_phase().but(name="base", codec=BytesConfig(), source=PackedConfig(window=8))
        torch.manual_seed(0)
        save(assemble(phase, phase.codec.load(tmp_path)), phase, tmp_path / "text")
        with pytest.raises(UsageError, match="x of 1 axes of ids, which is no condition for x of 2"):
            DrawnConfig(phase="base").after({"base": tmp_path / "text"}).build(Space((8, 8), 1))
        with pytest.raises(UsageError, match="x of 2 axes, which is no condition for x of 1"):
            DrawnConfig(phase="base").after({"base": place}).build(Space((8,), 1))

    def test_what_a_drawing_of_a_drawing_has_not(self, place):
        model = model_of(second(), place)
        with pytest.raises(UsageError, match="needs 'x of base'; given: label"):
            model.condition({"label": LABELS}, 4)
        with pytest.raises(UsageError, match="say 'x of base' too"):
            next(model.stream(NOISE, {"label": LABELS}, model.begin(toys.pictures(1)[0], None, 4)))
        batch = toys.loop(toys.image_phase(), place / "loop").source.batch(0)
        save(model, second().after({"base": place}), place / "large")
        with pytest.raises(UsageError, match="draws from an earlier drawing"):
            RolloutsConfig(phase="large").after({"large": place / "large"}).over(None, None, 0, 4)
        with pytest.raises(NoLikelihood, match=r"no p\(x\) of its own"):
            model.log_prob(batch, NOISE)


def recipe(**knobs):
    return toys.recipe(first()).but(phases=(first(), second(**knobs)))


def test_whole_by_itself_and_the_same_after_a_kill(tmp_path, monkeypatch):
    data = toys.dataset(tmp_path / "data", "image", 60)
    run = train(recipe(), data, tmp_path / "run", budget("24 steps"))
    assert [report["phase"] for report in run.summary["phases"]] == ["base", "large"]
    step = Loop.step
    for number, (name, at) in enumerate((("base", 7), ("large", 0), ("large", 5))):

        def stopped(loop, name=name, at=at):
            loop.checkpoint_every = 0.0
            if loop.name == name and loop.at.step == at:
                raise KeyboardInterrupt
            return step(loop)

        place = tmp_path / f"again {number}"
        with monkeypatch.context() as patch:
            patch.setattr(Loop, "step", stopped)
            with pytest.raises(KeyboardInterrupt):
                train(recipe(), data, place, budget("24 steps"))
        again = train(recipe(), data, place, budget("24 steps"))
        for part in ("model.safetensors", "config.json", "models/base/model.safetensors", "models/base/config.json"):
            assert files.sha256(run.path / part) == files.sha256(again.path / part)
    made = run.generate("dark", n=3, seed=1)
    assert len(Subject.of(run, most=2).samples(2)) == 2  # asked by all that held-out records say
    moved = tmp_path / "elsewhere"
    shutil.move(run.path, moved)
    for gone in ("phases", "plans", "checkpoints"):
        shutil.rmtree(moved / gone)
    assert str(tmp_path) not in (moved / "config.json").read_text() + (moved / "recipe.json").read_text()
    for a, b in zip(Run(moved).generate("dark", n=2, seed=1), made, strict=False):
        assert np.array_equal(a, b)
    with pytest.raises(UsageError, match="several phases"):
        Run(moved).invert(toys.pictures(2))
    with pytest.raises(UsageError, match="'cat' is not a label"):
        Run(moved).generate("cat")


def test_the_large_picture_is_that_of_the_small_one(tmp_path):
    """Toy pictures are smooth along both axes, so shrunk they are the small picture, if the network looks at it."""
    data = toys.dataset(tmp_path / "data", "image", 120)
    run = train(recipe(level=0.0, most=0.2), data, tmp_path / "run", budget("140 steps"))
    model, noise = run.model(), Noise(2, tuple(range(24)))
    drawn = model.conditioner.draw(noise.child("condition"), {})
    small = torch.stack(drawn["x of base"])
    *_, large = model.stream(noise, drawn, steps=10)
    distance = torch.cdist(F.avg_pool2d(large, 2).flatten(1), small.flatten(1))
    own, others = distance.diagonal(), distance[~torch.eye(24, dtype=torch.bool)]
    assert own.mean() < 0.5 * others.mean()
