"""Encodings are told, not guessed; code is told from prose by name and lines together."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from genus.media import MEDIA, Damaged, code, sniff, text

GERMAN = "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg. "


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings_that_can_be_told(encoding):
    assert text.read((GERMAN * 3).encode(encoding)) == GERMAN * 3
    assert sniff((GERMAN * 3).encode(encoding), "x") == "text"


@pytest.mark.parametrize("byte_order", ["le", "be"])
def test_wide_encodings_with_their_mark(byte_order):
    assert text.read("\ufeff".encode(f"utf-16-{byte_order}") + GERMAN.encode(f"utf-16-{byte_order}")) == GERMAN


@pytest.mark.parametrize(
    "data",
    [
        "Съешь ещё этих мягких французских булок".encode("koi8-r"),
        "いろはにほへと ちりぬるを".encode("shift-jis"),
        "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία".encode("cp1253"),
        (GERMAN * 4).encode() + b"\xff",
    ],
    ids=["koi8", "shift-jis", "greek", "utf-8 with a wrong byte"],
)
def test_what_cannot_be_told_is_not_guessed(data):
    with pytest.raises(Damaged) as caught:
        text.read(data)
    assert caught.value.reason == "encoding"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n\t ", "empty"),
        (b"\xef\xbb\xbf \n", "empty"),
        (b"abc\0\0def", "unknown type"),
        (b"%PDF-1.4\n1 0 obj\n", "unknown type"),
    ],
)
def test_nothing_and_binaries_are_damaged(data, reason):
    with pytest.raises(Damaged) as caught:
        text.check(data)
    assert caught.value.reason == reason


def test_random_bytes_are_no_text_and_a_head_may_end_inside_a_character():
    assert sniff(random.Random(0).randbytes(4000), "x.txt") is None
    assert sniff(("ü" * 100).encode()[:-1], "x.txt") == "text"


def test_write_reads_back_and_fingerprints_ignore_form():
    assert text.read(MEDIA["text"].write(GERMAN)) == GERMAN
    assert (
        text.fingerprint("Ünder  the\nHill") == text.fingerprint("ünder the hill") != text.fingerprint("under the hill")
    )


def test_preview_escapes(tmp_path):
    assert "&lt;script&gt;" in text.preview(["<script>"], tmp_path / "x").read_text()


PROSE = """It was a dark night, and the wind blew over the hills.
Nobody in the village had seen such a storm before.
The old man said that it would pass by the morning.
His daughter looked out of the window and said nothing.
Far away a light moved slowly along the road to the sea.
"""
PROGRAM = """import os
from pathlib import Path

def main(argv):
    for name in argv:
        path = Path(name)
        print(path.stat().st_size)
    return 0
"""
JAVASCRIPT = """const fs = require('fs');
function size(path) {
  if (!path) {
    return 0;
  }
  let state = fs.statSync(path);
  return state.size;
}
"""


@pytest.mark.parametrize(
    ("data", "name", "medium"),
    [
        (PROGRAM, "a.py", "code"),
        (PROGRAM, "a", "code"),
        (PROGRAM, "archive.zip!a.py", "code"),
        (JAVASCRIPT, "unnamed", "code"),
        (PROSE, "a.txt", "text"),
        (PROSE, "a", "text"),
        (PROSE, "poem.py", "text"),
        ("#!/bin/sh\necho\n", "run", "code"),
        ("all: x\n\ttouch x\n", "Makefile", "code"),
        (PROSE + "\n" + PROGRAM + PROSE, "readme.md", "text"),
        ('{"a": 1}', "a.json", "code"),
    ],
)
def test_code_and_prose(data, name, medium):
    assert sniff(data.encode(), name) == medium


def test_the_standard_library_is_code_and_its_licence_is_not():
    folder = Path(os.__file__).parent
    files = sorted(folder.glob("*.py"))[:80]
    heads = [file.read_bytes()[:16384] for file in files]
    assert all(code.claims(head, file.name) for head, file in zip(heads, files, strict=True) if head.strip())
    unnamed = [code.claims(head, "") for head in heads if len(head) > 2000]
    assert sum(unnamed) / len(unnamed) > 0.5
    assert not code.claims(
        (folder / "LICENSE.txt").read_bytes() if (folder / "LICENSE.txt").exists() else PROSE.encode(), ""
    )
