"""Code that nobody wrote: generated, minified, or data in the shape of code.

After the filters of StarCoder (Li et al. 2023, arXiv 2305.06161, 3) and of Codex (Chen et al. 2021, arXiv 2107.03374,
3.1). Not here: whether code runs, or is any good.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Literal, final

from pydantic import Field

from genus.clean.rule import Judge, Pile

__all__ = ["DataLike", "Generated", "Minified"]

_GENERATED = re.compile(
    r"(?i)@generated\b|\bauto[- ]?(?:matically[- ])?generated\b|\bdo not (?:edit|modify|change)\b|"
    r"(?<!be )(?<!are )(?<!was )\bgenerated (?:by|from|using|automatically)\b|"
    r"\b(?:file|module|code|source|script|class|document) (?:is|was|has been) (?:\w+ )?generated\b"
)
_COMMENT = re.compile(r"^\s*(?:#|//|/\*|\*|--|;|%|<!--|\"\"\"|'''|[rR]?\"\"\"|dnl|REM\b|\{-|\(\*)")
_STRING = re.compile(r'("""|\'\'\')')
_NUMBER = re.compile(r"(?<![A-Za-z_])[-+]?(?:0[xX][0-9a-fA-F]+|\d[\d_]*(?:\.\d*)?(?:[eE][-+]?\d+)?)")
_ALPHANUMERIC = bytes(c for c in range(256) if c >= 128 or chr(c).isalnum() or c == 95)
_NAME = re.compile(r"[A-Za-z_]\w*")
_ENCODED = re.compile(r"[A-Za-z0-9+/=]{100,}|(?:\\x[0-9a-fA-F]{2}){16,}|[0-9a-fA-F]{100,}")


@final
class Generated(Judge):
    """A file whose opening comment says that a program made it. lines: how many of its first lines count as opening."""

    kind: Literal["clean.source.generated"] = "clean.source.generated"
    lines: int = Field(12, ge=1)
    usual: ClassVar[tuple[str, ...]] = ("code",)

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """Only comments and the opening docstring count: code may well generate."""
        out = {}
        for i, text in enumerate(pile.items):
            head = text[:4096]
            if "enerated" not in head and "not " not in head.lower():
                continue
            quoted = False
            for line in head.split("\n")[: self.lines]:
                inside = quoted or bool(_COMMENT.match(line))
                quoted ^= len(_STRING.findall(line)) % 2 == 1
                found = _GENERATED.search(line) if inside else None
                if found:
                    out[i] = f"its opening says {found.group().strip()!r}"
                    break
        return out


@final
class Minified(Judge):
    """Code without line breaks or names. mean: longest mean line, in characters. longest, share: more than `share` of
    the file stands in lines over `longest`. spare: suffixes of drawings, which are numbers in long lines. least:
    characters from which it is judged.
    """

    kind: Literal["clean.source.minified"] = "clean.source.minified"
    mean: float = Field(200, gt=0)
    longest: int = Field(1000, gt=0)
    share: float = Field(0.5, gt=0, le=1)
    least: int = Field(500, ge=0)
    spare: tuple[str, ...] = (".svg",)
    usual: ClassVar[tuple[str, ...]] = ("code",)

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """Prose in long lines (a notebook, a page of HTML) has spaces; minified code has few."""
        out = {}
        for i, text in enumerate(pile.items):
            if len(text) < self.least or pile.names[i].endswith(self.spare):
                continue
            mean = len(text) / (text.count("\n") + 1)
            if mean < self.mean / 4:
                continue
            sizes = [len(line) for line in text.split("\n")]
            in_long = sum(size for size in sizes if size > self.longest) / len(text)
            if (mean > self.mean or in_long > self.share) and text.count(" ") < 0.12 * len(text):
                out[i] = f"mean line of {mean:.0f} characters, {in_long:.0%} of it in lines over {self.longest}"
        return out


@final
class DataLike(Judge):
    """Numbers or encoded bytes written as code. numbers: largest share of numbers among numbers and names. encoded:
    largest share of characters in runs of base64, hex or escapes. letters: smallest share of letters and digits.
    least: characters.
    spare: suffixes of drawings, which are numbers.
    """

    kind: Literal["clean.source.data_like"] = "clean.source.data_like"
    numbers: float = Field(0.8, gt=0, le=1)
    encoded: float = Field(0.5, gt=0, le=1)
    letters: float = Field(0.2, ge=0, le=1)
    least: int = Field(2000, ge=0)
    spare: tuple[str, ...] = (".svg",)
    usual: ClassVar[tuple[str, ...]] = ("code",)

    def judge(self, pile: Pile) -> Mapping[int, str]:
        """Counted by deleting bytes; looked at closely only where digits or long runs stand out."""
        out = {}
        for i, text in enumerate(pile.items):
            if len(text) < self.least or pile.names[i].endswith(self.spare):
                continue
            some = text if len(text) < 1 << 18 else text[: 1 << 17] + text[-(1 << 17) :]
            raw = some.encode("utf-8", "replace")
            solid = len(raw.translate(None, b" \t\n\r"))
            digits = len(raw) - len(raw.translate(None, b"0123456789"))
            letters = len(raw) - len(raw.translate(None, _ALPHANUMERIC))
            if letters < self.letters * solid:
                out[i] = f"{letters / solid:.0%} letters and digits"
            elif digits > 0.2 * solid:
                bare = _NUMBER.sub(" ", some)
                numbers, names = len(_NUMBER.findall(some)), len(_NAME.findall(bare))
                if numbers > self.numbers * (numbers + names):
                    out[i] = f"{numbers} numbers beside {names} names"
            if i not in out and max(map(len, some.split()), default=0) >= 64:
                encoded = sum(map(len, _ENCODED.findall(some)))
                if encoded > self.encoded * len(some):
                    out[i] = f"{encoded / len(some):.0%} of it is encoded bytes"
        return out
