"""One thread and no terminal: the tests measure nothing and share the machine."""

import os

import hypothesis
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("same")


@pytest.fixture(autouse=True)
def _apart(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's own home."""
    monkeypatch.setenv("GENUS_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    monkeypatch.delenv("GENUS_API_KEY", raising=False)
