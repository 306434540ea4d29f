"""The toys as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
import toys
from deploy_toys import image_run, text_run

from genus.run import Run
from genus.train.budget import budget
from genus.train.stage import train


@pytest.fixture
def tales(tmp_path: Path) -> Run:
    return text_run(tmp_path / "home" / "runs" / "tales")


@pytest.fixture
def shapes(tmp_path: Path) -> Run:
    return image_run(tmp_path / "home" / "runs" / "shapes")


@pytest.fixture
def pets(tmp_path: Path) -> Run:
    return image_run(tmp_path / "home" / "runs" / "pets", labels=True)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A flow on 8 x 8 greys, really trained, for a second."""
    place = tmp_path_factory.mktemp("digits")
    recipe = toys.recipe(toys.image_phase())
    return train(recipe, toys.dataset(place / "data", "image", 60), place / "runs" / "digits", budget("60 steps"))
