"""Whole or not there."""

import errno
import os

import pytest

from genus import files
from genus.errors import GenusError, UsageError


def test_what_was_written_is_read(tmp_path):
    value = {"a": [1, 2.5, None], "ü": "\U0001f30d"}
    path = files.write_json(tmp_path / "deep" / "er" / "x.json", value)
    assert files.read_json(path) == value
    assert "ü" in path.read_text(encoding="utf-8") and os.listdir(path.parent) == ["x.json"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = files.write(tmp_path / "x", "old")

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GenusError, match=r"cannot write .*x: No space left.*free some space"):
        files.write(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x"]


def test_any_other_failure_leaves_nothing_beside(tmp_path):
    def fill(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.replace(tmp_path / "x", fill)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GenusError, match=r"cannot write"):
        files.write(tmp_path / "file" / "x", "")


def test_reading_what_is_not_there_or_damaged(tmp_path):
    with pytest.raises(UsageError, match=r"does not exist"):
        files.read_json(tmp_path / "x.json")
    for content in (b"{", b"\xff\xfe", b""):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(GenusError, match=r"cannot be read"):
            files.read_json(tmp_path / "x.json")
    with pytest.raises(GenusError, match=r"cannot be read"):
        files.read_json(tmp_path)


def test_sha256(tmp_path):
    path = files.write(tmp_path / "x", b"abc")
    assert files.sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_is_made_beside_takes_the_place_at_the_end_or_is_gone(tmp_path):
    dead, alive = 2**22 + 1, os.getppid()
    for process in (dead, alive):
        (tmp_path / f".x.gguf.{process}.part.gguf").touch()
        (tmp_path / f".x.{process}.part").mkdir()
    with files.beside(tmp_path / "x.gguf", ".gguf") as made:
        assert made.suffix == ".gguf" and not (tmp_path / "x.gguf").exists()
        made.write_text("whole")
    with files.beside(tmp_path / "x") as made:
        made.mkdir()
        (made / "inside").touch()
    with pytest.raises(KeyboardInterrupt), files.beside(tmp_path / "y") as made:
        _broken_off(made)
    kept = {f".x.gguf.{alive}.part.gguf", f".x.{alive}.part", "x.gguf", "x"}
    assert set(os.listdir(tmp_path)) == kept and (tmp_path / "x" / "inside").exists()


def _broken_off(place):
    place.mkdir()
    raise KeyboardInterrupt
