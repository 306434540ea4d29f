"""A ladder whose losses follow a law foretells what that law gives; what cannot be answered is refused."""

import json

import numpy as np
import pytest
from toys import dataset, recipe, text_phase

from genus.errors import UsageError
from genus.recipe import Recipe
from genus.scale import stage
from genus.scale.stage import Point, Rung, at, scale, trained
from genus.train.budget import Budget
from genus.train.law import Law
from genus.train.sizing import SizingConfig

LAW = Law(1.1, ((900.0, 0.3),))
TIME = Budget("10m", seconds=600.0)


def laddered(**changes) -> Recipe:
    return recipe(text_phase().but(sizing=SizingConfig(dials=(1, 2, 3, 4, 5), **changes)))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Runs that are not trained but follow LAW, each off by what `off` says."""
    data = dataset(tmp_path / "datasets" / "toy")
    off = {}

    def timed(chosen, path, budget):
        width = chosen.phases[0].nets["net"].width
        return {"parameters": width**2, "seconds_a_step": width**2 / 1e6, "batch": 8}

    def run(chosen, sizing, data, folder, rung, seed, watch):
        compute = 6.0 * rung.parameters * rung.tokens
        loss = float(LAW(np.array([[compute]]))[0]) * (1 + off.get((rung.dial, seed), 0.0))
        return Point(rung.dial, seed, rung.parameters, rung.tokens, 0.5, compute, loss, rung.seconds)

    monkeypatch.setattr(stage, "outlook", timed)
    monkeypatch.setattr(stage, "trained", run)
    return data.path, tmp_path / "scales" / "toy", off


def test_the_law_is_found_and_the_larger_size_lies_inside(toy):
    path, folder, _ = toy
    made = scale(path, laddered(), TIME, folder, seeds=2, check=True)
    said = json.loads((folder / "scale.json").read_text())
    assert said == made.said and len(said["points"]) == 8
    assert said["law"]["floor"] == pytest.approx(1.1, rel=0.02)
    assert said["law"]["exponent"] == pytest.approx(0.3, rel=0.05)
    assert said["check"]["inside"] and abs(said["check"]["off"]) < 0.002
    assert said["foretold"]["low"] < said["foretold"]["loss"] < said["foretold"]["high"]
    assert sum(p["seconds"] for p in said["points"]) == pytest.approx(600, rel=0.01), "the budget is that of the ladder"
    steep = SizingConfig().alpha / SizingConfig().beta
    ratios = {p["tokens"] / p["parameters"] ** steep for p in said["points"]}
    assert max(ratios) / min(ratios) < 1.05, "data grows with weights as the recipe's law says"
    page = made.page.read_text()
    assert "so it came" in page and "<svg" in page


def test_a_size_off_the_law_lies_outside(toy):
    path, folder, off = toy
    off[5, 0] = 0.2
    made = scale(path, laddered(), TIME, folder, seeds=2, check=True)
    assert not made.said["check"]["inside"] and "came otherwise" in made.page.read_text()


def test_again_it_stands_on_the_same_or_is_refused(toy):
    path, folder, _ = toy
    first = scale(path, laddered(), TIME, folder)
    assert scale(path, laddered(), TIME, folder).said == first.said
    with pytest.raises(UsageError, match="another --name"):
        scale(path, laddered(), Budget("20m", seconds=1200.0), folder)


def test_what_cannot_be_answered_is_refused(toy, tmp_path):
    path = toy[0]
    few = laddered().but(phases=(laddered().phases[0].but(sizing=SizingConfig(dials=(1, 2, 3))),))
    for chosen, budget, sizes, said in (
        (few, TIME, 4, "3 sizes"),
        (laddered(), Budget("9 steps", steps=9), 4, "shares out time"),
        (laddered(), Budget("5s", seconds=5.0), 4, "smallest size would take"),
        (laddered(), TIME, 3, "sizes = 3"),
        (recipe(text_phase()), TIME, 4, "no single phase"),
    ):
        with pytest.raises(UsageError, match=said):
            scale(path, chosen, budget, tmp_path / "scales" / "other", sizes)
    with pytest.raises(UsageError, match="not started"):
        scale(path, laddered(), TIME, tmp_path / "scales" / "asked", confirm=lambda told: False)


def test_a_run_is_what_it_says(tmp_path):
    from genus.watch import Silent

    data = dataset(tmp_path / "datasets" / "toy")
    chosen = laddered(batch=(8, 8))
    assert at(chosen, 2, 7).phases[0].training.seed == 7 and at(chosen, 2).phases[0].sizing is None
    rung = Rung(1, 12_345, 3, 3 * 8 * 24.0, 1.0)
    (sizing,) = (phase.sizing for phase in chosen.phases)
    made = trained(chosen, sizing, data, tmp_path / "scales" / "toy", rung, 0, Silent())
    assert made.loss == pytest.approx(np.log(257), abs=0.7) and made.epochs > 0
    assert made.compute == pytest.approx(6 * 12_345 * min(rung.tokens, rung.tokens), rel=0.2)
    again = trained(chosen, sizing, data, tmp_path / "scales" / "toy", rung, 0, Silent())
    assert again == made
