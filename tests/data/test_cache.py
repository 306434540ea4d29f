"""An encoded split is whole or not there, and is what the codec said."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
import toys

from genus.codecs.bytes import Bytes
from genus.codecs.pixels import Pixels
from genus.data.cache import _groups, encoded
from genus.errors import GenusError

TEXTS = ["a", "", "naïve", "xyz" * 50]


def texts():
    return ((str(i), text, {"label": None if i == 1 else text[:1]}) for i, text in enumerate(TEXTS))


def test_streams(tmp_path):
    told = []
    cache = encoded(tmp_path, "k", Bytes(), texts, told.append)
    assert len(cache) == 4 and cache.total == 2 + 1 + 7 + 151 and cache.streams and told == [4]
    assert cache.cut(int(cache.starts[2]), int(cache.starts[3])).tolist() == [[*"naïve".encode(), 256]]
    assert cache.fields == {"label": ["a", None, "n", "x"]} and cache.ids == ["0", "1", "2", "3"]


def test_items(tmp_path):
    pictures = toys.pictures(70)
    cache = encoded(tmp_path, "k", Pixels(8, 8, 1), lambda: ((str(i), p, {}) for i, p in enumerate(pictures)))
    assert cache.total == len(cache) == 70 and not cache.streams
    assert cache.take([69, 3]).shape == (2, 1, 8, 8)
    assert (cache.take([69])[0, 0].numpy() == pictures[69][:, :, 0]).all()
    assert torch.equal(cache.cut(2, 4), cache.take([2, 3]))


def test_fields_that_some_records_lack(tmp_path):
    records = [("0", "a", {}), ("1", "b", {"x": 1}), ("2", "c", {"y": 2})]
    cache = encoded(tmp_path, "k", Bytes(), lambda: iter(records))
    assert cache.fields == {"x": [None, 1, None], "y": [None, None, 2]}


def test_read_again_without_the_records(tmp_path):
    first = encoded(tmp_path, "k", Bytes(), texts)
    again = encoded(tmp_path, "k", Bytes(), lambda: pytest.fail("encoded twice"))
    assert (np.array(first.cells) == np.array(again.cells)).all() and again.fields == first.fields
    assert len(encoded(tmp_path, "other", Bytes(), lambda: iter([("0", "z", {})]))) == 1


@pytest.mark.parametrize("fault", ["short", "gone", "index", "torn index"])
def test_a_damaged_cache_is_made_again(tmp_path, fault):
    encoded(tmp_path, "k", Bytes(), texts)
    (folder,) = tmp_path.iterdir()
    cells, index = folder / "cells.bin", folder / "index.json"
    if fault == "short":
        cells.write_bytes(cells.read_bytes()[:-3])
    elif fault == "gone":
        cells.unlink()
    elif fault == "index":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[:20])
    assert encoded(tmp_path, "k", Bytes(), texts).total == 161


def test_a_crash_leaves_nothing_that_counts(tmp_path):
    def broken():
        yield from texts()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoded(tmp_path, "k", Bytes(), broken)
    assert os.listdir(tmp_path) == []


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    for pid in (2**22 + 1, os.getppid()):  # one that cannot be, one that lives
        (tmp_path / f".abc.{pid}.part").mkdir()
    encoded(tmp_path, "k", Bytes(), texts)
    assert [p.name for p in tmp_path.glob(".*.part")] == [f".abc.{os.getppid()}.part"]


def test_an_empty_split(tmp_path):
    for _ in range(2):
        with pytest.raises(GenusError, match=r"split of the dataset is empty"):
            encoded(tmp_path, "k", Bytes(), lambda: iter(()))


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GenusError, match=r"cannot write the encoded data"):
        encoded(tmp_path / "file" / "x", "k", Bytes(), texts)


def test_another_process_was_quicker(tmp_path):
    """Its folder stays: it may be reading it."""
    encoded(tmp_path / "theirs", "k", Bytes(), texts)
    (theirs,) = (tmp_path / "theirs").iterdir()

    def slow():
        yield from texts()
        shutil.copytree(theirs, tmp_path / "ours" / theirs.name)
        (tmp_path / "ours" / theirs.name / "mark").write_text("")

    assert encoded(tmp_path / "ours", "k", Bytes(), slow).total == 161
    assert (tmp_path / "ours" / theirs.name / "mark").exists()
    assert [p.name for p in (tmp_path / "ours").iterdir()] == [theirs.name]


def test_groups_stay_small():
    big = np.zeros((1500, 1500, 3), np.uint8)
    assert [len(g) for g in _groups(("", big, {}) for _ in range(4))] == [1, 1, 1, 1]
    assert [len(g) for g in _groups(("", "x", {}) for _ in range(130))] == [64, 64, 2]
    assert json.dumps([len(g) for g in _groups(("", "x" * (1 << 22), {}) for _ in range(2))]) == "[1, 1]"
