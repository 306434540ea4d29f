"""The small decisions by themselves: where a text is cut, which licence a text is, what a rule means."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genus.collect import cut, licences, optouts


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab é漢\n", max_size=3000), st.integers(8, 200))
def test_pieces_are_whole_characters_and_lose_nothing(text, size):
    pieces = list(cut.pieces(io.BytesIO(text.encode()), "utf-8", size))
    assert b"".join(pieces) == text.encode()
    assert all(0 < len(piece) <= size for piece in pieces)
    for piece in pieces:
        piece.decode()


def test_pieces_end_where_the_text_pauses():
    text = b"a" * 50 + b"\n\n" + b"b" * 20 + b"\n" + b"c" * 60
    assert list(cut.pieces(io.BytesIO(text), "utf-8", 80)) == [b"a" * 50 + b"\n\n", b"b" * 20 + b"\n", b"c" * 60]


@pytest.mark.parametrize("at", [cut.READ - 1, cut.READ, cut.READ + 1])
def test_a_character_across_two_reads(at):
    text = ("x" * at + "漢字" * 40).encode()
    assert b"".join(cut.pieces(io.BytesIO(text), "utf-8", 1000)) == text
    wide = ("x" * (at // 2) + "漢😀" * 40).encode("utf-16")
    assert b"".join(cut.pieces(io.BytesIO(wide), "utf-16-le", 1000)).decode() == wide.decode("utf-16")


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("Apache License\n Version 2.0, January 2004", "Apache-2.0"),
        ("GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007", "GPL-3.0-only"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007", "LGPL-3.0-only"),
        ("Redistribution and use in source and binary forms ... Neither the name of", "BSD-3-Clause"),
        ("Redistribution and use in source and binary forms ... this list of conditions", "BSD-2-Clause"),
        ("Creative Commons Attribution-NonCommercial-NoDerivatives 4.0 International", "CC-BY-NC-ND-4.0"),
        ("see https://creativecommons.org/licenses/by-sa/3.0/", "CC-BY-SA-3.0"),
        ("CC0 1.0 Universal", "CC0-1.0"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ("SPDX-License-Identifier: EUPL-1.2\n", "EUPL-1.2"),
        ("All rights reserved.", None),
    ],
)
def test_licences_by_their_words(text, spdx):
    assert licences.recognise(text) == spdx


def test_names_of_licence_files():
    assert all(
        map(
            licences.is_licence_file,
            ("LICENSE", "licence.txt", "COPYING", "LICENSE-MIT", "COPYING.LESSER", "UNLICENSE"),
        )
    )
    assert not any(map(licences.is_licence_file, ("license.py", "licensed.txt", "copyright", "my_license")))


def test_a_card_states_its_licence():
    assert licences.in_card("---\nlicense: apache-2.0\n---\n") == "Apache-2.0"
    assert licences.in_card("---\nlicense:\n- mit\ntask_categories: x\n---\n") == "MIT"
    assert licences.in_card("---\npretty_name: X\n---\ntext") == ""
    assert licences.in_card("---\ntitle: my blog\n---\ntext") is None


def test_the_longest_location_decides_and_of_equals_the_refusal():
    def rules(*said: tuple[str, bool]) -> list[optouts.Rule]:
        return [optouts.Rule((), pattern, optouts.TDM, reserves) for pattern, reserves in said]

    assert optouts.refused(("a", "b.txt"), rules(("/", True), ("/a/", False))) is None
    assert optouts.refused(("a", "b.txt"), rules(("/", False), ("/a/*.txt", True))) is not None
    assert optouts.refused(("a", "b.txt"), rules(("/a/", False), ("/a/", True))) is not None
    assert optouts.refused(("c", "b.txt"), rules(("/a/", True))) is None
