from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from genus.data.dataset import Dataset, Item

Rows = dict[str, dict[str, object]]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """A dataset of (name, content) pairs, or of whole items."""

    def make(*given: Item | tuple[str, str], medium: str = "text") -> Path:
        items = [i if isinstance(i, Item) else Item(origin=i[0], medium=medium, content=i[1].encode()) for i in given]
        Dataset.create(tmp_path / "data").append(items)
        return tmp_path / "data"

    return make


@pytest.fixture
def rows() -> Callable[[Path], Rows]:
    """The dataset's rows by origin."""

    def read(path: Path) -> Rows:
        names = ["id", "origin", "status", "reason", "content", "cleaned", "language", "group", "split", "notes"]
        return {row["origin"]: row for batch in Dataset.open(path).scan(names) for row in batch.to_pylist()}

    return read


@pytest.fixture
def prose() -> Callable[..., str]:
    """Different sentences for each number: words drawn from a made vocabulary, with English function words between."""
    letters = random.Random(1)
    stems = ["".join(letters.choices("abdefgiklmnoprstu", k=letters.randint(4, 8))) for _ in range(3000)]

    def write(number: int, words: int = 150) -> str:
        draw = random.Random(number)
        said = [
            draw.choice(("the", "of", "and", "in", "that", *(draw.choice(stems) for _ in range(9))))
            for _ in range(words)
        ]
        return ". ".join(" ".join(said[at : at + 12]).capitalize() for at in range(0, words, 12)) + "."

    return write
