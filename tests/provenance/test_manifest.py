from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from genus import files
from genus.errors import GenusError, UsageError
from genus.provenance import manifest
from genus.provenance.manifest import Maker, Manifest

MAKER = Maker("0.1.0", "2.13.0", "tales", "/runs/tales", "gpt", "text", "a" * 64, "b" * 64, None, {"version": 3})
SAMPLE = Manifest(MAKER, 7, 9, (8, 9), "c" * 64, "Once", {"temperature": 0.5}, created="2026-01-01T00:00:00+00:00")


def test_it_comes_back_as_it_was() -> None:
    assert Manifest.parse(json.loads(json.dumps(SAMPLE.json()))) == SAMPLE


def test_beside_its_file_and_readable(tmp_path: Path) -> None:
    path = manifest.write(tmp_path / "deep" / "a.txt", b"hello", SAMPLE)
    assert path.read_bytes() == b"hello"
    assert manifest.sidecar(path) == tmp_path / "deep" / "a.txt.json"
    assert manifest.read(path) == SAMPLE
    said = files.read_json(manifest.sidecar(path))
    assert {"run", "recipe", "seed", "index", "data", "weights_sha256", "config_sha256", "batch", "knobs"} <= set(said)


def test_no_file_stands_without_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    rename = os.replace

    def spy(source: Any, target: Any) -> None:
        order.append(Path(target).name)
        rename(source, target)

    monkeypatch.setattr(os, "replace", spy)
    manifest.write(tmp_path / "a.txt", b"hello", SAMPLE)
    assert order == ["a.txt.json", "a.txt"]


def test_a_file_without_one_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(UsageError, match=r"a\.txt\.json is not beside it"):
        manifest.read(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "format is 'other'"),
        ({"seed": "7"}, "seed, index"),
        ({"index": 3}, "seed, index"),
        ({"batch": None}, "seed, index"),
        ({"scale": 0}, "seed, index"),
        ({"knobs": []}, "knobs is no object"),
        ({"prompt": 3}, "knobs is no object"),
    ],
)
def test_a_damaged_one_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = manifest.write(tmp_path / "a.txt", b"hello", SAMPLE)
    files.write_json(manifest.sidecar(path), {**SAMPLE.json(), **change})
    with pytest.raises(GenusError, match=said) as caught:
        manifest.read(path)
    assert "a.txt.json" in str(caught.value)


def test_a_field_that_is_missing_is_named(tmp_path: Path) -> None:
    path = manifest.write(tmp_path / "a.txt", b"hello", SAMPLE)
    files.write_json(manifest.sidecar(path), {k: v for k, v in SAMPLE.json().items() if k != "weights_sha256"})
    with pytest.raises(GenusError, match="weights_sha256"):
        manifest.read(path)


def test_no_json_at_all(tmp_path: Path) -> None:
    path = manifest.write(tmp_path / "a.txt", b"hello", SAMPLE)
    manifest.sidecar(path).write_text("{")
    with pytest.raises(GenusError, match="cannot be read"):
        manifest.read(path)
