"""Pieces of paths: a teacher goes them, a step that aims at the target ends where it did, whatever the batch."""

import math
from dataclasses import replace
from typing import Literal

import pytest
import torch
import toys

from genus.core import Cond, Noise, Wrap, move
from genus.errors import NoLikelihood, UsageError
from genus.learned.pieces import Cut, PiecesConfig, gone, led
from genus.objectives.flow import Flow
from genus.objectives.piecewise import Piecewise
from genus.run import assemble, load_model, save
from genus.train.budget import budget
from genus.train.stage import train

MEAN, SPREAD = 0.7, 0.3


@pytest.fixture
def place(tmp_path):
    phase = toys.image_phase()
    torch.manual_seed(0)
    save(assemble(phase, phase.codec.fit(lambda: iter(toys.pictures(4)))), phase, tmp_path / "first")
    return tmp_path / "first"


def source(place, size, **changes):
    phase = toys.image_phase()
    codec, cache = toys.data(phase)
    config = PiecesConfig(phase="flow", **changes).after({"flow": place})
    return config, config.over(cache, codec, 3, size), cache, codec


def gaussian(x, t, cond=Cond()):
    """The clean x that is to be expected of data N(MEAN, SPREAD^2)."""
    t = t[:, None, None]
    size = ((1 - t) * SPREAD) ** 2 + t**2
    return MEAN + (1 - t) * SPREAD**2 / size * (x - (1 - t) * MEAN)


@pytest.mark.parametrize("piece", [0, 1, 3])
def test_a_teacher_that_knows_the_density_goes_where_the_path_leads(piece):
    """Each path of one Gaussian keeps its distance from the mean, in standard deviations."""
    times = Cut(4, 256).times(piece)
    z = Noise(1, tuple(range(50))).normal(0, (1, 2))
    at = [(1 - t) * MEAN + math.hypot((1 - t) * SPREAD, t) * z for t in (times[0], times[-1])]
    assert times[0] == 1 - piece / 4 and times[-1] == pytest.approx(0.75 - piece / 4)
    torch.testing.assert_close(gone(gaussian, at[0], Cond(), times), at[1], atol=1e-4, rtol=1e-3)


def test_a_step_that_aims_at_the_target_ends_where_the_teacher_did(place):
    model = load_model(place)[0]
    _, pieces, _, _ = source(place, 8)
    batch = pieces.batch(0)
    t, e = batch.extra["t"], batch.extra["e"]
    assert t.tolist() == [1.0, 0.75, 0.5, 0.25] * 2
    for i, t_i in enumerate(t.tolist()):
        one = slice(i, i + 1)
        begun = (1 - t_i) * batch.x[one].float() + t_i * e[one]
        cond = model.condition({name: column[one] for name, column in batch.fields.items()}, 1)
        predict, _ = model.predictor(nets=model.drawing())
        end = gone(predict, begun, cond, Cut(4, 4).times(i % 4))
        torch.testing.assert_close(move(begun, batch.extra["target"][one], t_i, t_i - 0.25), end, atol=1e-4, rtol=1e-4)


def test_a_piece_is_the_same_in_any_batch(place):
    _, eight, cache, codec = source(place, 8)
    _, four, _, _ = source(place, 4)
    whole, halves = eight.batch(2), [four.batch(4), four.batch(5)]
    for name in ("t", "e", "target"):
        torch.testing.assert_close(
            whole.extra[name], torch.cat([half.extra[name] for half in halves]), atol=1e-5, rtol=0
        )
    config = source(place, 4)[0]
    judged = [torch.cat([b.extra["target"] for b in config.judged(cache, codec, size)]) for size in (4, 10)]
    torch.testing.assert_close(*judged, atol=1e-5, rtol=0)


class Higher(Wrap):
    """A wrap that can be seen: all that is said is one higher."""

    kind: Literal["tests.higher"] = "tests.higher"

    def __call__(self, predict, null, fields=None):
        return lambda x, t=None, cond=Cond(), state=None: predict(x, t, cond) + 1


def test_the_teachers_wraps_are_in_the_pieces(place):
    model = load_model(place)[0]
    batch, noise = source(place, 8)[1].source.batch(0), Noise(5, tuple(range(8)))
    plain, wrapped = (led(replace(model, wraps=w), batch, noise, Cut(4, 1)).extra["target"] for w in ((), (Higher(),)))
    torch.testing.assert_close(wrapped, plain + 1, atol=1e-4, rtol=0)


def test_a_student_takes_a_step_for_four_and_tells_no_likelihood(tmp_path):
    first = toys.image_phase()
    objective = Piecewise(output=first.objective.output)
    again = first.but(name="pieces", start="flow", source=PiecesConfig(phase="flow"), objective=objective)
    again = again.but(sampler=objective.sampler())
    data = toys.dataset(tmp_path / "data", "image", 40)
    run = train(toys.recipe(first).but(phases=(first, again)), data, tmp_path / "run", budget("200 steps"))
    held = [row["loss"] for row in run.metrics() if row["phase"] == "pieces" and row["split"] == "val"]
    assert held[-1] < 0.7 * held[0]
    with pytest.raises(NoLikelihood, match="score the phase that taught it"):
        run.score(toys.pictures(1))


def test_without_pieces_it_says_what_to_take():
    phase = toys.image_phase()
    codec, cache = toys.data(phase)
    batch = phase.source.over(cache, codec, 0, 4).batch(0)
    assert isinstance(phase.objective, Flow)
    with pytest.raises(UsageError, match=r"learned\.pieces"):
        Piecewise().loss(assemble(phase, codec).nets, batch, {}, "main")
    with pytest.raises(UsageError, match="was not told"):
        PiecesConfig(phase="flow").over(cache, codec, 0, 4)
