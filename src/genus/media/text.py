"""Text: any encoding that can be told with certainty, as str. Not here: whether it is good text (`genus.clean`)."""

from __future__ import annotations

import codecs
import hashlib
import html
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genus import files
from genus.media.medium import Damaged, Medium

#: Longest first: the mark of UTF-32-LE begins with that of UTF-16-LE.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: Bytes that no text holds; tab, line feed, carriage return, form feed, backspace and escape are in real ones.
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b")) + b"\x7f"


def binary(head: bytes) -> bool:
    """Whether this is no text in any encoding: a NUL, or more than 1 in 100 control characters."""
    if any(head.startswith(mark) for mark, _ in MARKS):
        return False
    if head.startswith(b"%PDF-"):  # some are written in plain letters, but no one reads them so
        return True
    return b"\0" in head or len(head) - len(head.translate(None, _CONTROL)) > len(head) / 100


def encoding(head: bytes) -> tuple[str, int]:
    """(the encoding, the length of its mark) by the first bytes of a text, which may end inside a character.

    UTF-8, or what a byte order mark says, or Windows-1252 where it is plausible. Raises `Damaged`("encoding").
    """
    for mark, name in MARKS:
        if head.startswith(mark):
            return name, len(mark)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        if western(head):
            return "cp1252", 0
        raise Damaged("encoding", f"not UTF-8 at byte {error.start} and not plausibly Windows-1252") from None
    return "utf-8", 0


def western(data: bytes) -> bool:
    """Whether bytes that are not UTF-8 read as Windows-1252: few high ones, nearly all beside plain letters.

    Cyrillic, Greek, Arabic and East Asian legacy encodings are mostly high bytes, so they fail the first test: guessing
    among those would store nonsense as text.
    """
    try:
        said = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    high = [i for i, c in enumerate(said) if ord(c) > 127]
    if binary(data) or len(high) > len(said) * 0.2:
        return False
    forgiving = data.decode("utf-8", "replace")
    if sum(ord(c) > 127 for c in forgiving) > 2 * forgiving.count("\ufffd"):
        return False  # Mostly sound UTF-8 with some damage.

    def fits(i: int) -> bool:
        c = said[i]
        beside = said[max(i - 1, 0) : i] + said[i + 1 : i + 2]
        if unicodedata.category(c)[0] == "L":
            return any(b.isascii() and b.isalpha() for b in beside) or not beside.strip()
        return c in "‘’“”–—…€£«»¿¡°§·•™®©½¼¾´\u00a0²³±×ªº"

    return sum(map(fits, high)) >= 0.9 * len(high)


def read(data: bytes) -> str:
    """The text without its byte order mark. Raises `Damaged`("encoding")."""
    name, skip = encoding(data)
    try:
        return data[skip:].decode(name)
    except UnicodeDecodeError as error:
        raise Damaged("encoding", f"not {name} at byte {error.start + skip}: {error.reason}") from None


def check(data: bytes) -> None:
    """Raises `Damaged`: "empty" for nothing but white space, "encoding", "unknown type" for control characters."""
    if not data.strip(b" \t\r\n\f\v\0"):
        raise Damaged("empty", f"{len(data)} bytes, nothing but white space" if data else "0 bytes")
    if binary(data):
        raise Damaged("unknown type", "control characters as in a binary file")
    if not read(data).strip():
        raise Damaged("empty", "nothing but white space")


def preview(media: Sequence[Any], path: Path) -> Path:
    """Each text as a block of an HTML fragment, at most 2,000 characters of it."""
    blocks = (f"<pre>{html.escape(m[:2000])}{'…' if len(m) > 2000 else ''}</pre>" for m in media)
    return files.write(path.with_suffix(".html"), "\n".join(blocks) + "\n")


def fingerprint(media: str) -> int:
    """The same for texts that differ in case, white space or Unicode form alone. Near texts are `genus.clean`'s."""
    plain = " ".join(unicodedata.normalize("NFKC", media).casefold().split())
    return int.from_bytes(hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


MEDIUM = Medium(
    name="text",
    suffix=".txt",
    claims=lambda head, _: not binary(head),
    read=read,
    check=check,
    write=lambda media: media.encode(),
    preview=preview,
    fingerprint=fingerprint,
)
