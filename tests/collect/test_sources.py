"""What each kind of source gives: files, folders, globs, archives, captions, classes, splits, licences."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from genus.collect import Limits, collect
from genus.data.dataset import Dataset, split_of
from genus.errors import UsageError

POEM = "Es war, als hätt der Himmel\ndie Erde still geküsst.\n"
PROGRAM = "import os\n\n\ndef f(x):\n    return os.path.join(x)\n"


def packed_zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def packed_tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def test_a_folder_in_order_each_file_as_its_medium(fill, rows, png):
    source = fill(
        {
            "b.txt": POEM,
            "a/x.py": PROGRAM,
            "a.png": png(),
            "Z.md": "# Title\n\nwords",
            ".hidden": "no",
            "a/.git/x": "no",
        }
    )
    got = rows(source)
    assert list(got) == ["Z.md", "a.png", "b.txt", "a/x.py"]
    assert [row["medium"] for row in got.values()] == ["text", "image", "text", "code"]
    row = got["b.txt"]
    assert (row["content"], row["source"], row["status"]) == (POEM.encode(), str(source), "kept")
    assert row["split"] == split_of(row["sha256"])


def test_one_file_a_glob_and_several_sources(fill, rows):
    source = fill({"a.txt": "one", "b.txt": "two", "sub/c.txt": "three", "d.py": PROGRAM})
    assert list(rows(source / "a.txt", "one")) == ["a.txt"]
    assert list(rows(str(source / "*.txt"), "two")) == ["a.txt", "b.txt"]
    assert list(rows(str(source / "**/*.txt"), "three")) == ["a.txt", "b.txt", "sub/c.txt"]
    assert list(rows([source / "b.txt", source / "sub"], "four")) == ["b.txt", "c.txt"]


def test_what_does_not_exist_is_a_usage_error(tmp_path):
    for source in ("nothing-here", str(tmp_path / "*.txt")):
        with pytest.raises(UsageError, match="does not exist"):
            collect(source, tmp_path / "d")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("wrong", [{"medium": "smell"}, {"consent": "perhaps"}, {"columns": {"colour": "x"}}])
def test_unknown_words_are_usage_errors_that_list_the_known(fill, tmp_path, wrong):
    with pytest.raises(UsageError, match=r"none of|there are"):
        collect(fill({"a.jsonl": '{"text": "x"}\n'}), tmp_path / "d", **wrong)


def test_medium_restricts(fill, rows, png):
    source = fill({"a.txt": POEM, "b.py": PROGRAM, "c.png": png()})
    assert list(rows(source, "one", medium="image")) == ["c.png"]
    assert list(rows(source, "two", medium="code")) == ["b.py"]


def test_content_decides_over_names(fill, rows, png):
    got = rows(fill({"photo.txt": png(), "words.png": POEM}))
    assert (got["photo.txt"]["medium"], got["words.png"]["medium"]) == ("image", "text")


ARCHIVES = {
    "a.zip": packed_zip,
    "a.tar": packed_tar,
    "a.tar.gz": lambda files: packed_tar(files, "w:gz"),
    "a.tar.bz2": lambda files: packed_tar(files, "w:bz2"),
    "a.tar.xz": lambda files: packed_tar(files, "w:xz"),
    "no_suffix": lambda files: packed_tar(files, "w:gz"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_are_folders(fill, rows, png, tmp_path, name):
    source = fill({name: ARCHIVES[name]({"b/c.png": png(), "a.txt": POEM.encode(), "x.py": PROGRAM.encode()})})
    got = rows(source)
    assert list(got) == [f"{name}!a.txt", f"{name}!x.py", f"{name}!b/c.png"]
    assert [row["medium"] for row in got.values()] == ["text", "code", "image"]
    assert not list(tmp_path.glob(".*unpack*"))


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_single_compressed_files(fill, rows, suffix, pack):
    lines = b'{"text": "first"}\n{"text": "second"}\n'
    got = rows(fill({f"a.txt.{suffix}": pack(POEM.encode()), f"b.jsonl.{suffix}": pack(lines)}))
    assert list(got) == [f"a.txt.{suffix}!a.txt", f"b.jsonl.{suffix}!b.jsonl#0", f"b.jsonl.{suffix}!b.jsonl#1"]


def test_archives_inside_archives(fill, rows):
    inner = packed_zip({"deep.txt": b"found"})
    got = rows(
        fill({"outer.zip": packed_zip({"in/inner.tar.gz": packed_tar({"x.zip": inner}, "w:gz"), "z.txt": b"z"})})
    )
    assert list(got) == ["outer.zip!z.txt", "outer.zip!in/inner.tar.gz!x.zip!deep.txt"]


def test_captions_beside_images(fill, rows, png):
    source = fill(
        {"a.png": png(1), "a.txt": "a red one\n", "b.png": png(2), "b.png.txt": "blue", "c.txt": "no picture here"}
    )
    got = rows(source)
    assert {name: row["caption"] for name, row in got.items()} == {"a.png": "a red one", "b.png": "blue", "c.txt": None}


def test_metadata_tables_beside_images(fill, rows, png):
    lines = [
        {"file_name": "a.png", "text": "first", "label": "cat", "author": "me"},
        {"file_name": "sub/b.png", "caption": "second", "license": "CC0-1.0"},
    ]
    source = fill({"a.png": png(1), "sub/b.png": png(2), "metadata.jsonl": "\n".join(map(json.dumps, lines))})
    got = rows(source)
    assert list(got) == ["a.png", "sub/b.png"]
    assert (got["a.png"]["caption"], got["a.png"]["label"]) == ("first", "cat")
    assert json.loads(got["a.png"]["fields"]) == {"author": "me"}
    assert (got["sub/b.png"]["caption"], got["sub/b.png"]["licence"]) == ("second", "CC0-1.0")
    source = fill({"a.png": png(1), "metadata.csv": "file_name,caption\na.png,from a table\n"}, "other")
    assert rows(source, "second")["a.png"]["caption"] == "from a table"


def test_class_folders_are_labels(fill, rows, png):
    files = {
        f"data/{split}/{kind}/{i}.png": png(hash((split, kind, i)) % 999)
        for split in ("train", "test")
        for kind in ("cat", "dog")
        for i in (1, 2)
    }
    got = rows(fill({**files, "README.md": "pictures of animals", "notes.txt": POEM}))
    assert len(got) == 9  # the notes are an item, and no class
    assert got["data/test/dog/2.png"]["label"] == "dog"
    assert got["data/test/dog/2.png"]["split"] == got["data/test/dog/2.png"]["declared"] == "test"
    nested = rows(fill({"greek/alpha/1.png": png(1), "latin/alpha/1.png": png(2)}, "nested"), "second")
    assert {row["label"] for row in nested.values()} == {"greek/alpha", "latin/alpha"}


@pytest.mark.parametrize(
    "more",
    [{"cat/words.txt": POEM}, {"top.png": None}, {}],
    ids=["text among them", "a picture outside", "one class alone"],
)
def test_folders_that_are_no_classes(fill, rows, png, more):
    files = {"cat/1.png": png(1)} | ({"dog/1.png": png(2)} if more else {})
    got = rows(fill(files | {name: content or png(3) for name, content in more.items()}))
    assert all(row["label"] is None for row in got.values())


def test_names_declare_splits_beside_train_alone(fill, rows):
    got = rows(fill({"train/a.txt": "1", "validation/b.txt": "2", "test/c.txt": "3", "other/d.txt": "4"}))
    assert [row["declared"] for row in got.values()] == [None, "test", "train", "val"]
    assert [row["split"] for name, row in got.items() if name != "other/d.txt"] == ["test", "train", "val"]
    library = rows(
        fill({"src/a.py": PROGRAM, "test/b.py": PROGRAM + "y = 1\n", "train.py": PROGRAM}, "library"), "second"
    )
    assert all(row["declared"] is None for row in library.values())
    files = rows(
        fill(
            {
                "train-00000-of-00001.jsonl": '{"text": "a"}\n',
                "test.jsonl": '{"text": "b"}\n',
                "val_1.csv": "text\nc\n",
            },
            "files",
        ),
        "third",
    )
    assert [row["declared"] for row in files.values()] == ["test", "train", "val"]


def test_a_split_that_the_source_leaves_out_is_drawn_from_train(fill, rows):
    lines = "".join(json.dumps({"text": f"line {i}"}) + "\n" for i in range(300))
    got = rows(fill({"train.jsonl": lines, "test.jsonl": '{"text": "held out"}\n'}))
    train = [row for name, row in got.items() if name.startswith("train")]
    assert {row["split"] for row in train} == {"train", "val"}
    assert all((row["split"] == "val") == (split_of(row["sha256"]) == "val") for row in train)


def test_a_train_beside_which_nothing_is_collected_declares_nothing(fill, rows):
    folder = fill({"train.txt": "1", "test.txt": "2"})
    assert [row["declared"] for row in rows(folder).values()] == ["test", "train"]
    assert [row["declared"] for row in rows(folder / "train.txt", "alone").values()] == [None]
    assert [row["declared"] for row in rows(fill({"train.txt": "1", "more.txt": "2"}, "other"), "third").values()] == [
        None
    ] * 2


def test_files_that_are_named_together_declare_splits_beside_each_other(fill, rows):
    folder = fill({"train.txt": "1", "test.txt": "2", "val.txt": "3"})
    named = [folder / "train.txt", folder / "test.txt"]
    assert sorted(row["declared"] for row in rows(named, "list").values()) == ["test", "train"]
    assert sorted(row["declared"] for row in rows(folder / "t*.txt", "pattern").values()) == ["test", "train"]


def test_licences(fill, rows):
    mit = (
        "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy\n"
        "of this software ... shall be included in all copies"
    )
    source = fill(
        {
            "LICENSE": mit,
            "a.txt": "one",
            "b.py": "# SPDX-License-Identifier: GPL-3.0-or-later\nx = 1\n",
            "sub/COPYING.txt": "Creative Commons Attribution-ShareAlike 4.0 International",
            "sub/c.txt": "two",
            "odd/LICENCE.md": "ask my aunt",
            "odd/d.txt": "three",
            "t.jsonl": '{"text": "x", "license": "CC0-1.0"}\n{"text": "y"}\n',
        }
    )
    expected = {
        "a.txt": "MIT",
        "b.py": "GPL-3.0-or-later",
        "t.jsonl#0": "CC0-1.0",
        "t.jsonl#1": "MIT",
        "odd/d.txt": "LicenseRef-LICENCE.md",
        "sub/c.txt": "CC-BY-SA-4.0",
    }
    assert {name: row["licence"] for name, row in rows(source).items()} == expected
    said = {name: row["licence"] for name, row in rows(source, "second", licence="Apache-2.0").items()}
    own = {"b.py": "GPL-3.0-or-later", "t.jsonl#0": "CC0-1.0"}
    assert said == dict.fromkeys(expected, "Apache-2.0") | own


def test_consent_is_recorded(fill, rows):
    table = '{"text": "x", "consent": "granted"}\n{"text": "y", "consent": null}\n'
    got = rows(fill({"a.txt": "one", "t.jsonl": table}))
    assert [row["consent"] for row in got.values()] == ["unknown", "granted", "unknown"]
    mine = rows(fill({"a.txt": "one"}, "mine"), "second", consent="granted")
    assert mine["a.txt"]["consent"] == "granted"


def test_long_texts_are_cut_and_lose_nothing(fill, rows):
    paragraphs = "\n\n".join(f"Paragraph {i}. " + "Some words of it. " * (i % 40) for i in range(400))
    got = rows(fill({"long.txt": paragraphs, "long.py": PROGRAM * 2000}))
    pieces = [row for name, row in got.items() if name.startswith("long.txt")]
    assert [row["origin"] for row in pieces] == [f"long.txt#{k}" for k in range(len(pieces))]
    assert b"".join(row["content"] for row in pieces).decode() == paragraphs
    assert all(row["size"] <= 16384 for row in pieces)
    assert all(row["content"].endswith(b"\n\n") for row in pieces[:-1])
    assert got["long.py"]["medium"] == "code"
    small = rows(fill({"long.py": PROGRAM * 2000}), "second", limits=Limits(code=1000, piece=500), medium="code")
    assert b"".join(row["content"] for row in small.values()).decode() == PROGRAM * 2000


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8-sig"])
def test_other_encodings_are_stored_as_utf8(fill, rows, encoding):
    got = rows(fill({"short.txt": POEM.encode(encoding), "long.txt": (POEM * 900).encode(encoding)}))
    assert got["short.txt"]["content"].decode() == POEM
    long = b"".join(row["content"] for name, row in got.items() if name.startswith("long"))
    assert long.decode() == POEM * 900


def test_the_result_is_what_scripts_read(fill, tmp_path):
    seen: list[tuple[int, int, int | None]] = []
    source = fill({"a.txt": "words", "empty.txt": "", ".nogenus": "no.txt", "no.txt": "private"})
    done = collect(source, tmp_path / "d", progress=lambda *state: seen.append(state))
    version = Dataset.open(tmp_path / "d").version
    assert done.json() == {
        "dataset": str(tmp_path / "d"),
        "version": version,
        "added": 1,
        "known": 0,
        "refused": {"nogenus": 1},
        "quarantined": {"empty": 1},
    }
    assert json.loads(json.dumps(done.json())) == done.json()
    assert seen[-1][0] == 3
    assert seen[-1][2] == sum(f.stat().st_size for f in source.iterdir())


def test_the_dataset_may_lie_inside_its_source(fill, rows):
    source = fill({"a.txt": "words"})
    first = rows(source, "source/home/d")
    again = rows(source, "source/home/d")
    assert list(first) == list(again) == ["a.txt"]


def test_a_name_that_is_not_utf8_is_kept_readable(fill, rows):
    source = fill({"a.txt": "one"})
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9.txt")).write_text("two")
    got = rows(source)
    assert list(got) == ["a.txt", "caf\\xe9.txt"]
    assert "not UTF-8" in got["caf\\xe9.txt"]["notes"]
