"""A run that guesses for another: the same texts, and a clear word where the two do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import toys

from genus.codecs.characters import CharactersConfig
from genus.deploy import generate
from genus.deploy.samples import drafted
from genus.errors import UsageError
from genus.learned.draft import Drafting
from genus.networks.transformer import TransformerConfig
from genus.run import Run
from genus.train.budget import budget
from genus.train.stage import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run, Run]:
    place = tmp_path_factory.mktemp("runs")
    data = toys.dataset(place / "data", "text", 60)
    phase = toys.text_phase()
    small = phase.but(nets={"net": TransformerConfig(depth=1, width=16, head=16)})
    other = phase.but(codec=CharactersConfig())
    made = [
        train(toys.recipe(p), data, place / name, budget("30 steps"))
        for name, p in (("large", phase), ("small", small), ("other", other))
    ]
    return made[0], made[1], made[2]


def test_the_texts_are_the_same(runs: tuple[Run, Run, Run], tmp_path: Path) -> None:
    large, small, _ = runs
    knobs = {"tokens": 60, "temperature": 0.8}
    wanted = generate(large, "the ", 3, 0, None, knobs).items
    assert generate(large, "the ", 3, 0, None, {**knobs, "ahead": 3}, draft=small).items == wanted
    assert generate(large, "the ", 3, 0, None, {**knobs, "lookup": 2}).items == wanted
    predict, _ = drafted(large.model(), small.path).predictor()
    assert isinstance(predict, Drafting), "the draft was there"


def test_a_draft_of_other_ids_is_refused(runs: tuple[Run, Run, Run]) -> None:
    with pytest.raises(UsageError, match="reads text as other ids"):
        generate(runs[0], "the ", 1, 0, None, {}, draft=runs[2])
