"""Small sources, made where they are used."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from genus.collect import collect
from genus.data.dataset import Dataset


@pytest.fixture
def png() -> Callable[..., bytes]:
    """png(seed) -> the bytes of a small picture of its own."""

    def make(seed: int = 0, form: str = "PNG", **options: Any) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), dtype=np.uint8)
        out = io.BytesIO()
        PIL.Image.fromarray(pixels).save(out, form, **options)
        return out.getvalue()

    return make


@pytest.fixture
def fill(tmp_path: Path) -> Callable[..., Path]:
    """fill({"a/b.txt": content}) -> a folder with these files."""

    def make(files: dict[str, str | bytes], folder: str = "source") -> Path:
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return make


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """rows(source, **options) collects into a fresh dataset -> origin -> its row."""

    def make(source: Any, where: str = "dataset", **options: Any) -> dict[str, dict[str, Any]]:
        done = collect(source, tmp_path / where, **options)
        return read(done.dataset)

    return make


def read(path: Path) -> dict[str, dict[str, Any]]:
    columns = (
        "id medium content source origin licence consent caption label fields declared status reason split notes size"
    )
    found: dict[str, dict[str, Any]] = {}
    for batch in Dataset.open(path).scan([*columns.split(), "sha256"]):
        for row in batch.to_pylist():
            assert row["origin"] not in found, f"{row['origin']} twice"
            found[row["origin"]] = row
    return found
