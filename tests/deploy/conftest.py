"""The toys as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploy_toys import image_run, text_run

from genus.run import Run


@pytest.fixture
def tales(tmp_path: Path) -> Run:
    return text_run(tmp_path / "home" / "runs" / "tales")


@pytest.fixture
def shapes(tmp_path: Path) -> Run:
    return image_run(tmp_path / "home" / "runs" / "shapes")


@pytest.fixture
def pets(tmp_path: Path) -> Run:
    return image_run(tmp_path / "home" / "runs" / "pets", labels=True)
