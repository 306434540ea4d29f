"""A name on the command line becomes a folder, or a list of what there is."""

import pytest

from genus.errors import UsageError
from genus.home import dataset_path, home, run_path
from genus.make import checked, named


def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv("GENUS_HOME", str(tmp_path / "env"))
    assert home() == tmp_path / "env" and home(tmp_path) == tmp_path and home("rel").is_absolute()
    monkeypatch.delenv("GENUS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".genus" and home("~/x") == tmp_path / "x"


def test_by_name_and_by_path(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "recipe.json").write_text("{}")
    assert run_path("a", tmp_path) == tmp_path / "runs" / "a" == run_path(str(tmp_path / "runs" / "a"), tmp_path)
    monkeypatch.chdir(tmp_path / "runs")
    assert run_path("b", tmp_path / "elsewhere") == tmp_path / "runs" / "b"
    with pytest.raises(UsageError, match=r"no run 'c' in .*runs; there are: a, b"):
        run_path("c", tmp_path)
    with pytest.raises(UsageError, match=r"no dataset 'a' in .*datasets; there is none yet; make one with"):
        dataset_path("a", tmp_path)


@pytest.mark.parametrize(
    ("source", "name"),
    [("letters/", "letters"), ("a/b.tar.gz", "b"), ("a/photos/*.png", "photos"), ("a/**/x?.txt", "a"), ("/", "data"),
     ("my notes (old)", "my-notes-old"), ("/tmp/日本", "data"), ("~/x", "x"), ("*", None)],
)  # fmt: skip
def test_a_name_from_a_source(source, name, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = named(source)
    assert found == (name or "here") and checked(found) == found


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "-x", "x" * 101, "a b", "é", "a\n", ".hidden", "a\x00b"]
)
def test_names_that_are_no_folders(name):
    with pytest.raises(UsageError, match=r"use letters, digits"):
        checked(name)
