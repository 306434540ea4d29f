"""Rows keep their place, updates are one commit, the digest knows content and order alone."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from genus.data import dataset
from genus.data.dataset import Dataset, Item, identity, split_of
from genus.errors import GenusError, UsageError


def items(n: int, start: int = 0) -> list[Item]:
    return [
        Item(origin=f"{i}.txt", source="/s", medium="text", content=b"item %d " % i * 40, label=str(i % 3))
        for i in range(start, start + n)
    ]


def column(data: Dataset, name: str) -> list[object]:
    return [value for batch in data.scan([name]) for value in batch.column(0).to_pylist()]


def test_an_item_is_named_by_origin_and_content():
    item = Item(origin="a.txt", content=b"hello")
    sha = hashlib.sha256(b"hello").hexdigest()
    assert (item.sha256, item.size) == (sha, 5)
    assert item.id == identity("a.txt", sha) == hashlib.sha256(b"a.txt\0" + sha.encode()).hexdigest()[:32]
    assert item.split == split_of(sha)
    assert Item(origin="a.txt", content=b"hello", declared="test").split == "test"


@pytest.mark.parametrize("wrong", [{"status": "gone"}, {"consent": "maybe"}, {"split": "dev"}])
def test_words_outside_the_columns_vocabulary_are_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong.values()))):
        Item(origin="a", **wrong)


def test_splits_have_their_shares_and_never_move():
    drawn = [split_of(str(i)) for i in range(20000)]
    assert drawn.count("val") / 20000 == pytest.approx(0.05, abs=0.006)
    assert drawn.count("test") / 20000 == pytest.approx(0.05, abs=0.006)
    assert [split_of(str(i)) for i in range(8)] == drawn[:8]
    more = [split_of(str(i), val=0.05, test=0.2) for i in range(20000)]
    assert all(b == a or (a, b) == ("train", "test") for a, b in zip(drawn, more, strict=True))


def test_rows_come_back_in_order_whatever_the_commits(tmp_path):
    one, many = Dataset.create(tmp_path / "one"), Dataset.create(tmp_path / "many")
    assert one.append(items(500)) == 500
    assert many.append(items(500), commit_bytes=4096) == 500
    assert many.version > one.version + 10
    assert column(many, "origin") == [f"{i}.txt" for i in range(500)]
    assert one.digest() == many.digest()
    assert many.ids() == {bytes.fromhex(item.id) for item in items(500)}
    assert many.count() == 500
    assert many.count("label = '1'") == 167


def test_digest_sees_every_column_but_the_place_of_the_source(tmp_path):
    def digest(name: str, **changes: object) -> str:
        fields = {"origin": "a", "source": "/s", "medium": "text", "content": b"x", "split": "train"} | changes
        data = Dataset.create(tmp_path / name)
        data.append([Item(**fields), Item(origin="b", content=b"y", split="train")])
        return data.digest()

    plain = digest("plain")
    assert digest("moved", source="/elsewhere") == plain
    changes = {
        "content": b"z",
        "caption": "",
        "label": "x",
        "licence": "MIT",
        "consent": "granted",
        "status": "removed",
        "reason": "r",
        "cleaned": b"",
        "group": "g",
        "split": "val",
        "notes": '{"a": 1}',
        "fields": '{"b": 2}',
        "declared": "train",
        "language": "en",
    }
    others = {digest(name, **{name: value}) for name, value in changes.items()}
    assert len(others | {plain}) == len(changes) + 1


def test_digest_does_not_run_neighbouring_values_together(tmp_path):
    pairs = []
    for name, (a, b) in {"x": ("ab", "c"), "y": ("a", "bc")}.items():
        data = Dataset.create(tmp_path / name)
        data.append([Item(origin="o", label=a, split="train"), Item(origin="p", label=b, split="train")])
        pairs.append(data.digest())
    assert pairs[0] != pairs[1]


def test_update_is_one_commit_that_moves_no_row(tmp_path):
    data = Dataset.create(tmp_path / "d")
    data.append(items(300), commit_bytes=8192)
    before, version, order = data.digest(), data.version, column(data, "id")
    some = [str(i) for i in order[::7]]
    values = {"id": some[::-1], "status": ["removed"] * len(some), "cleaned": [s.encode() for s in some[::-1]]}
    data.update(pa.table(values))
    assert data.version == version + 1
    assert column(data, "id") == order
    assert data.count("status = 'removed'") == len(some)
    kept = [row for batch in data.scan(["id", "cleaned", "content"]) for row in batch.to_pylist()]
    assert all((row["cleaned"] == row["id"].encode()) == (row["id"] in some) for row in kept)
    assert all(row["content"] for row in kept)
    null = pa.nulls(len(some), pa.large_binary())
    data.update(iter(pa.table({"id": some, "status": ["kept"] * len(some), "cleaned": null}).to_batches(5)))
    assert data.digest() == before
    assert Dataset.open(data.path, version).digest() == before
    assert Dataset.open(data.path, version + 1).count("status = 'removed'") == len(some)


def test_update_passes_over_unknown_ids_and_the_last_of_two_counts(tmp_path):
    data = Dataset.create(tmp_path / "d")
    data.append(items(3))
    ids = [str(i) for i in column(data, "id")]
    data.update(pa.table({"id": [ids[0], "f" * 32, ids[0]], "label": ["a", "b", "c"]}))
    assert column(data, "label") == ["c", "1", "2"]
    version = data.version
    data.update(pa.table({"id": ["f" * 32], "label": ["b"]}))
    data.update([])
    assert data.version == version


def test_update_says_which_column_it_lacks_or_does_not_know(tmp_path):
    data = Dataset.create(tmp_path / "d")
    data.append(items(1))
    with pytest.raises(UsageError, match="needs the column id"):
        data.update(pa.table({"label": ["a"]}))
    with pytest.raises(UsageError, match="no column colour"):
        data.update(pa.table({"id": ["0" * 32], "colour": ["a"]}))
    with pytest.raises(UsageError, match="no column colour"):
        list(data.scan(["colour"]))


def test_a_dataset_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no dataset at"):
        Dataset.open(tmp_path / "none")
    Dataset.create(tmp_path / "d")
    with pytest.raises(UsageError, match="version 99"):
        Dataset.open(tmp_path / "d", 99)


def test_media_are_kept_decoded_and_as_cleaned(tmp_path):
    data = Dataset.create(tmp_path / "d")
    extra = json.dumps({"author": "me", "label": "overridden"})
    data.append(
        [
            Item(
                origin="a", medium="text", content=b"secret", cleaned=b"******", label="l", fields=extra, split="train"
            ),
            Item(origin="b", medium="text", content=b"gone", status="removed", split="train"),
            Item(origin="c", medium="code", content=b"x = 1", licence="MIT", split="val"),
            Item(origin="d", status="quarantined", reason="empty", split="train"),
        ]
    )
    (record,) = data.media("train")
    assert record.media == "******"
    assert record.fields == {"author": "me", "label": "l", "caption": None, "origin": "a", "size": 6}
    assert [r.media for r in data.media()] == ["******", "x = 1"]
    assert [r.fields["licence"] for r in data.media(medium="code", columns=["licence"])] == ["MIT"]
    for wrong in ({"split": "dev"}, {"medium": "music"}):
        with pytest.raises(UsageError, match="none of"):
            list(data.media(**wrong))


def test_a_full_disk_is_said_and_harms_nothing(tmp_path, monkeypatch):
    import lance

    data = Dataset.create(tmp_path / "d")
    data.append(items(5))
    before = data.digest()

    def full(*args: object, **named: object) -> None:
        raise OSError("LanceError(IO): No space left on device (os error 28)")

    monkeypatch.setattr(lance, "write_dataset", full)
    with pytest.raises(GenusError, match="is full; free some space"):
        data.append(items(5, start=5))
    assert Dataset.open(tmp_path / "d").digest() == before


def test_a_rival_commit_is_found_not_overwritten(tmp_path):
    data = Dataset.create(tmp_path / "d")
    data.append(items(3))
    ids = [str(i) for i in column(data, "id")]
    other = Dataset.open(tmp_path / "d")
    other.update(pa.table({"id": ids, "label": ["theirs"] * 3}))
    with pytest.raises(GenusError, match="another process changed"):
        data.update(pa.table({"id": ids, "label": ["ours"] * 3}))
    assert column(Dataset.open(tmp_path / "d"), "label") == ["theirs"] * 3


def test_killed_while_appending_the_dataset_is_a_whole_beginning(tmp_path):
    path = tmp_path / "d"
    program = (
        "import sys; from pathlib import Path; from genus.data.dataset import *\n"
        "def rows():\n"
        "    for i in range(10**9):\n"
        "        yield Item(origin=str(i), content=b'%d' % i * 50)\n"
        "        i == 400 and print('on', flush=True)\n"
        "Dataset.create(Path(sys.argv[1])).append(rows(), commit_bytes=8192)"
    )
    source = str(Path(dataset.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source}
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    data = Dataset.open(path)
    n = data.count()
    assert n > 0
    assert column(data, "origin") == [str(i) for i in range(n)]
