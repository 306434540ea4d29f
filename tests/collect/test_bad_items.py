"""Everything that can be wrong with an item: it is set aside with its reason, and the good ones beside it are kept."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from genus.collect import Limits, collect, walk
from genus.data.dataset import Dataset
from genus.errors import GenusError


def reasons(got: dict[str, dict[str, object]]) -> dict[str, object]:
    assert got["good.txt"]["status"] == "kept", "the good one was lost"
    assert all(row["content"] is None for row in got.values() if row["status"] != "kept")
    return {name: row["reason"] for name, row in got.items() if row["status"] == "quarantined"}


def make_zip(files: dict[str, bytes], **options: object) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def make_tar(members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def test_damaged_files(fill, rows, png):
    whole = png(form="JPEG")
    files = {
        "good.txt": "words",
        "empty.txt": b"",
        "blank.txt": " \n \n",
        "cut.jpg": whole[: len(whole) // 2],
        "cut.png": png()[:200],
        "program": b"\x7fELF\2\1\1" + bytes(200),
        "cyrillic.txt": "Съешь ещё этих мягких французских булок".encode("koi8-r"),
        "movie.png": b"\0\0\0\x20ftypisom" + bytes(100),
        "cut.parquet": b"PAR1" + bytes(50),
        "cut.gz": gzip.compress(os.urandom(3000))[:800],
    }
    assert reasons(rows(fill(files))) == {
        "empty.txt": "empty",
        "blank.txt": "empty",
        "cut.jpg": "truncated",
        "cut.png": "truncated",
        "program": "unknown type",
        "cyrillic.txt": "encoding",
        "movie.png": "unknown type",
        "cut.parquet": "truncated",
        "cut.gz!cut": "truncated",
    }


def test_a_bad_passage_in_a_long_text_costs_one_piece(fill, rows):
    pieces = [b"a line of plain words\n" * 40 + b"\n"] * 60
    pieces[30] = b"\xfe\xff\xfe" * 200 + b"\n\n"
    got = rows(fill({"good.txt": "words", "long.txt": b"".join(pieces)}))
    bad = reasons(got)
    assert list(bad.values()) == ["encoding"]
    assert sum(row["size"] for name, row in got.items() if row["status"] == "kept") > 15 * 1024 * 2


def test_special_files_and_links(fill, rows, tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    source = fill({"good.txt": "words", "sub/inner.txt": "more"})
    os.mkfifo(source / "pipe.txt")
    (source / "out.txt").symlink_to(outside)
    (source / "etc").symlink_to("/etc")
    (source / "broken.txt").symlink_to("nothing")
    (source / "round.txt").symlink_to("round.txt")
    (source / "sub/up").symlink_to("..")
    (source / "twin.txt").symlink_to("sub/inner.txt")
    (source / "again").symlink_to("sub")
    with socket.socket(socket.AF_UNIX) as server:
        short = Path(os.path.relpath(source / "socket"))
        server.bind(str(short) if len(str(short)) < 100 else "socket")
        got = rows(source)
    bad = reasons(got)
    assert bad.pop("pipe.txt") == "not a regular file"
    assert bad.pop("socket", "not a regular file") == "not a regular file"
    assert bad == {
        "out.txt": "link out of the root",
        "etc": "link out of the root",
        "broken.txt": "broken link",
        "round.txt": "link loop",
        "sub/up": "link loop",
        "again/up": "link loop",
    }
    assert got["twin.txt"]["content"] == got["again/inner.txt"]["content"] == b"more"
    assert not any(b"secret" in (row["content"] or b"") for row in got.values())


def test_device_files(fill, rows):
    source = fill({"good.txt": "words"})
    try:
        os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device file needs privileges")
    assert reasons(rows(source)) == {"null": "not a regular file"}


def test_unreadable_files_and_folders(fill, rows, monkeypatch):
    source = fill({"good.txt": "words", "locked.txt": "x", "closed/a.txt": "y"})
    scandir, open_ = os.scandir, Path.open

    def no_scan(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    def no_open(self: Path, *args: object, **named: object) -> object:
        if self.name == "locked.txt":
            raise PermissionError(13, "Permission denied", str(self))
        return open_(self, *args, **named)

    monkeypatch.setattr(walk.os, "scandir", no_scan)
    monkeypatch.setattr(Path, "open", no_open)
    assert reasons(rows(source)) == {"locked.txt": "unreadable", "closed/": "unreadable"}


def test_too_large_and_too_deep(fill, rows, png):
    deep = "/".join("d" * 1 for _ in range(6)) + "/x.txt"
    row = json.dumps({"text": "long " * 1000}) + '\n{"text": "short"}\n'
    source = fill({"good.txt": "words", "big.png": png(), deep: "x", "t.jsonl": row})
    bad = reasons(rows(source, limits=Limits(item=300, depth=5, row=2000)))
    assert bad == {"big.png": "too large", "d/d/d/d/d/d": "nested too deep", "t.jsonl#0": "too large"}


def test_an_image_bomb(fill, rows):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )
    assert reasons(rows(fill({"good.txt": "words", "bomb.png": bomb}))) == {"bomb.png": "decompression bomb"}


def test_archive_bombs(fill, rows, tmp_path):
    zeros = bytes(4 << 20)
    nested = make_zip({"a.zip": make_zip({"z.txt": zeros})})
    for _ in range(5):
        nested = make_zip({"a.zip": nested})
    sparse = io.BytesIO()
    files = {
        "good.txt": "words",
        "ratio.zip": make_zip({"a.txt": b"fine", "z.txt": zeros}),
        "ratio.tar.gz": make_tar([(member("a.txt"), b"fine"), (member("z.txt"), zeros)], "w:gz"),
        "ratio.gz": gzip.compress(zeros),
        "total.zip": make_zip({f"{i}.txt": os.urandom(1 << 20) for i in range(9)}),
        "many.zip": make_zip({f"{i}.txt": b"x" for i in range(300)}),
        "nested.zip": nested,
        "inner.zip": make_zip({"in.zip": make_zip({"z.txt": zeros})}),
    }
    del sparse
    bounds = Limits(ratio_from=1 << 20, ratio=100, unpacked=8 << 20, members=200)
    got = rows(fill(files), limits=bounds)
    bad = reasons(got)
    names = ("ratio.zip", "ratio.tar.gz", "ratio.gz", "total.zip", "many.zip")
    assert {name: bad.pop(name) for name in names} == dict.fromkeys(names, "archive bomb")
    assert bad.pop("inner.zip!in.zip") == "archive bomb"
    assert bad == {"nested.zip!a.zip!a.zip!a.zip": "nested too deep"}
    assert [name for name, row in got.items() if row["status"] == "kept"] == ["good.txt"]
    assert not list(tmp_path.glob(".*.unpack"))


def test_paths_and_links_out_of_an_archive(fill, rows, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    members = [
        (member("fine.txt"), b"inside"),
        (member("../escape.txt"), b"x"),
        (member("/absolute.txt"), b"x"),
        (member("a/../../b.txt"), b"x"),
        (member("passwd", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (member("up", tarfile.SYMTYPE, "../../secret.txt"), b""),
        (member("hard", tarfile.LNKTYPE, "../../secret.txt"), b""),
        (member("twin", tarfile.SYMTYPE, "fine.txt"), b""),
        (member("null", tarfile.CHRTYPE), b""),
        (member("dir", tarfile.SYMTYPE, "/tmp"), b""),
        (member("dir/through.txt"), b"x"),
    ]
    got = rows(
        fill({"good.txt": "words", "t.tar": make_tar(members), "z.zip": make_zip({"../z.txt": b"x", "ok.txt": b"ok"})})
    )
    bad = reasons(got)
    out = "path out of the archive"
    assert bad == {
        "t.tar!../escape.txt": out,
        "t.tar!/absolute.txt": out,
        "t.tar!a/../../b.txt": out,
        "t.tar!passwd": "link out of the root",
        "t.tar!up": bad["t.tar!up"],
        "t.tar!hard": bad["t.tar!hard"],
        "t.tar!null": "not a regular file",
        "t.tar!dir": "broken link",
        "z.zip!../z.txt": out,
    }
    assert {bad["t.tar!up"], bad["t.tar!hard"]} == {"link out of the root"}
    assert got["t.tar!twin"]["content"] == b"inside"
    assert got["t.tar!dir/through.txt"]["content"] == b"x"
    assert not Path("/tmp/through.txt").exists()
    assert not any(b"secret" in (row["content"] or b"") for row in got.values())


def test_archives_that_break_off(fill, rows):
    body = make_tar([(member(f"{i}.txt"), os.urandom(40).hex().encode() * 50) for i in range(9)], "w:gz")
    archive = make_zip({"a.txt": b"fine " * 100, "b.txt": b"other " * 100})
    at = archive.index(b"b.txt") + 8
    broken = archive[:at] + bytes([archive[at] ^ 0xFF]) + archive[at + 1 :]
    got = rows(
        fill({"good.txt": "words", "cut.tar.gz": body[: len(body) // 2], "cut.zip": archive[:80], "crc.zip": broken})
    )
    bad = reasons(got)
    assert bad.pop("cut.tar.gz") == "truncated"
    assert [bad.pop(name) for name in sorted(bad) if name.startswith("cut.tar.gz!")] == ["truncated"]
    assert bad.pop("cut.zip") == "truncated"
    assert bad == {"crc.zip!b.txt": "damaged"}
    assert got["crc.zip!a.txt"]["status"] == got["cut.tar.gz!0.txt"]["status"] == "kept"


def test_documents_in_zip_form_are_not_taken_apart(fill, rows):
    document = make_zip({"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w>text</w>"})
    assert reasons(rows(fill({"good.txt": "words", "letter.docx": document}))) == {"letter.docx": "unknown type"}


def test_bad_rows_of_tables(fill, rows, png):
    lines = (
        b'{"text": "one"}\nnot json\n[1, 2]\n{"text": "\xff"}\n{"text": ""}\n{"text": "\\ud800"}\n\n{"text": "two"}\n'
    )
    table = b'text,label\none,a\ntoo,many,cells\n"two\nlines",b\n\xff\xfe,c\n'
    got = rows(fill({"good.txt": "words", "t.jsonl": lines, "t.csv": table, "odd.csv": "colour,size\nred,3\n"}))
    assert reasons(got) == {
        "t.jsonl#1": "bad row",
        "t.jsonl#2": "bad row",
        "t.jsonl#3": "encoding",
        "t.jsonl#4": "empty",
        "t.jsonl#5": "encoding",
        "t.csv#1": "bad row",
        "t.csv#3": "encoding",
        "odd.csv": "no content column",
    }
    assert got["t.csv#2"]["content"] == b"two\nlines"
    assert got["t.jsonl#7"]["content"] == b"two"
    assert "colour, size" in got["odd.csv"]["notes"]


def test_nothing_usable_is_an_error_with_the_counts(fill, tmp_path):
    source = fill({"a.txt": "", "b.txt": "", "c.bin": bytes(100)})
    for _ in range(2):
        with pytest.raises(GenusError, match=r"2 empty .*1 unknown type"):
            collect(source, tmp_path / "d")
    assert Dataset.open(tmp_path / "d").count("status = 'quarantined'") == 3
    empty = tmp_path / "nothing"
    empty.mkdir()
    with pytest.raises(GenusError, match="there are no files"):
        collect(empty, tmp_path / "d")


def test_a_full_disk_while_unpacking_is_our_error_not_the_archives(fill, tmp_path, monkeypatch):
    from genus.collect import archives

    source = fill({"a.zip": make_zip({"a.txt": b"words"})})

    def full(file: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_blocks", full)
    with pytest.raises(GenusError, match="is full; free some space"):
        collect(source, tmp_path / "d")
    monkeypatch.undo()
    assert collect(source, tmp_path / "d").added == 1
