"""Damaged text: what a wrong decoding or a broken copy leaves behind. Damaged pictures are `genus.clean.pictures`'.

Thresholds are rates, so that a book with one odd character stays and a note that is mostly rubble goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Literal, final

from pydantic import Field

from genus.clean.rule import Judge, Pile

__all__ = ["ControlCharacters", "Mojibake", "ReplacementCharacters"]

#: C0 and C1 controls but tab, line feed, form feed, carriage return, backspace, escape and next line; and
#: noncharacters.
_CONTROL = re.compile("[\x00-\x07\x0b\x0e-\x1a\x1c-\x1f\x7f\x80-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff]")
#: Any two characters that only a UTF-8 text read as Windows-1252 or Latin-1 puts side by side in every alphabet that
#: it has.
_PAIR = re.compile(
    "[\u00c2-\u00df][\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d\u2018"
    "\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178]"
    "|\u00e2[\u0080\u20ac][\u0080-\u00bf\u02dc\u2122\u0153\u201c\u201d\u2018\u2019\u00a6\u00a2\u0161]|\u00ef\u00bf\u00bd|\u00ef\u00bb\u00bf"
)


@final
class Mojibake(Judge):
    """Text decoded by the wrong table (Ã© for é), by ftfy's measure of character pairs that no language has.

    rate: suspicious places a thousand characters.
    """

    kind: Literal["clean.damage.mojibake"] = "clean.damage.mojibake"
    rate: float = Field(0.5, gt=0)
    usual: ClassVar[tuple[str, ...]] = ("text", "code")

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """Only texts beyond ASCII are looked at."""
        out = {}
        for i, text in enumerate(pile.items):
            if text.isascii():
                continue
            from ftfy.badness import badness  # 0.1 s to load, and most texts never need it

            found = max(badness(text), len(_PAIR.findall(text)) if _PAIR.search(text) else 0)
            if found and found * 1000 >= self.rate * len(text):
                out[i] = f"{found} places that read as a wrong decoding, in {len(text)} characters"
        return out


@final
class ReplacementCharacters(Judge):
    """Text in which U+FFFD stands where characters were lost. rate: such characters a thousand."""

    kind: Literal["clean.damage.replacement_characters"] = "clean.damage.replacement_characters"
    rate: float = Field(0.5, gt=0)
    usual: ClassVar[tuple[str, ...]] = ("text", "code")

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """Counted, not sought in bytes: an encoded one reads the same."""
        out = {}
        for i, text in enumerate(pile.items):
            found = 0 if text.isascii() else text.count("\ufffd")
            if found and found * 1000 >= self.rate * len(text):
                out[i] = f"{found} replacement characters in {len(text)}"
        return out


@final
class ControlCharacters(Judge):
    """Text with characters that no text has: NUL, other controls, noncharacters. rate: such characters a thousand."""

    kind: Literal["clean.damage.control_characters"] = "clean.damage.control_characters"
    rate: float = Field(1.0, gt=0)
    usual: ClassVar[tuple[str, ...]] = ("text", "code")

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """White space of every kind, backspace and escape are no damage."""
        out = {}
        for i, text in enumerate(pile.items):
            found = 0 if text.isprintable() else sum(1 for _ in _CONTROL.finditer(text))
            if found and found * 1000 >= self.rate * len(text):
                out[i] = f"{found} control characters in {len(text)}"
        return out
