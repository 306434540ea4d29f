"""Texts -> hashes of their words, for many texts at once: what duplicates, repetition and language are counted on.

A word is a run of letters and digits, case and everything between ignored (with `marks`, each punctuation mark is a
word too). Runs of 16 bytes and more (scripts without spaces, DNA, base64) are cut where the bytes themselves say, so
an insertion moves only the cuts beside it (content-defined chunking, Muthitacharoen et al. 2001).

A word's 64-bit hash is made of its first 16 bytes, its last 8 and its length, each read as machine words at unaligned
addresses, so the cost is a handful of numpy operations a word, none a byte but two comparisons. No dictionary, no
stems.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.uint64]]

__all__ = ["Words", "hashed", "mixed", "shingles", "words"]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
OTHER = np.uint64(0xD6E8FEB86659FD93)
LONG = 16
#: Spaces and punctuation of Unicode beyond ASCII, in UTF-8: U+00A0, U+2000-206F, U+3000-303F.
_BEYOND = re.compile(rb"\xc2\xa0|\xe2[\x80\x81][\x80-\xbf]|\xe3\x80[\x80-\xbf]")
_FIRST = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)


def _table(marks: bool) -> bytes:
    table = bytearray(range(256))
    for code in range(128):
        char = chr(code)
        keep = char.isalnum() or char == "_" or (marks and char.isprintable() and char != " ")
        table[code] = ord(char.lower()) if keep else 32
    return bytes(table)


_WORDS, _MARKS = _table(False), _table(True)
_SINGLE = np.array([c < 128 and chr(c).isprintable() and not (chr(c).isalnum() or chr(c) in "_ ") for c in range(256)])


@final
@dataclass(frozen=True, slots=True)
class Words:
    """The words of some texts, one after the other.

    hash: uint64 [N]. text: int64 [N], which text each is of. counts: int64 [texts].
    """

    hash: Ints
    text: np.ndarray[Any, np.dtype[np.int64]]
    counts: np.ndarray[Any, np.dtype[np.int64]]


def words(texts: Sequence[str], marks: bool = False) -> Words:
    """The words of each text."""
    table = _MARKS if marks else _WORDS
    pieces = []
    for text in texts:
        if text.isascii():
            pieces.append(text.encode("ascii").translate(table))
        else:
            pieces.append(_BEYOND.sub(b" ", text.lower().encode("utf-8", "surrogatepass")).translate(table))
    ends = np.cumsum([len(piece) + 1 for piece in pieces], dtype=np.int64) + 8
    joined = b"        " + b" ".join(pieces) + b" " * 32  # room to read 8 bytes at any word's start or end
    del pieces
    byte = np.frombuffer(joined, np.uint8)
    inside = byte != 32
    turn = inside[1:] != inside[:-1]
    if marks:
        single = _SINGLE[byte]
        turn |= inside[1:] & (single[1:] | single[:-1])
        edges = np.flatnonzero(turn) + 1
        start = edges[inside[edges]]
        stop = edges[inside[edges - 1]]
    else:
        edges = np.flatnonzero(turn) + 1
        start, stop = edges[0::2], edges[1::2]
    start, stop = _cut(byte, start, stop)
    read = np.ndarray((len(byte) - 7,), np.uint64, byte.data, strides=(1,))  # the 8 bytes at any address
    size = stop - start
    h = read[start] & _FIRST[np.minimum(size, 8)]
    more = np.flatnonzero(size > 8)
    h = mixed(h * GOLDEN + size.astype(np.uint64))
    if len(more):
        at, long = start[more], size[more]
        second = read[at + 8] & _FIRST[np.minimum(long - 8, 8)]
        h[more] = mixed((h[more] ^ second) * OTHER + read[stop[more] - 8])
    counts = np.diff(np.searchsorted(start, ends), prepend=0)
    return Words(h, np.repeat(np.arange(len(texts)), counts), counts)


def _cut(byte: Any, start: Any, stop: Any) -> tuple[Any, Any]:
    """Long runs in pieces of about 8 bytes, at places that depend on the four bytes before them."""
    long = np.flatnonzero(stop - start >= LONG)
    if not len(long):
        return start, stop
    size = stop[long] - start[long] - 4  # not within 4 bytes of the start
    place = np.repeat(start[long] + 4 - (np.cumsum(size) - size), size) + np.arange(size.sum())
    read = np.ndarray((len(byte) - 3,), np.uint32, byte.data, strides=(1,))  # the 4 bytes at any address
    place = place[read[place - 4] * np.uint32(0x9E3779B1) >> np.uint32(29) == 0]
    # Each cut falls inside one run, so one search places it among the starts and, there too, among the stops.
    among = np.searchsorted(stop, place)
    return np.insert(start, among + 1, place), np.insert(stop, among, place)


def mixed(h: Ints) -> Ints:
    """A bijection of 64 bits in which every bit of the input reaches every bit of the output (in place)."""
    h ^= h >> np.uint64(32)
    h *= OTHER
    h ^= h >> np.uint64(29)
    h *= GOLDEN
    h ^= h >> np.uint64(32)
    return h


def shingles(found: Words, n: int) -> tuple[Ints, np.ndarray[Any, np.dtype[np.int64]]]:
    """(hash of every n words in a row of one text, which text): uint64 [M], int64 [M]."""
    if len(found.hash) < n:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    last = len(found.hash) - n + 1
    h = found.hash[:last].copy()
    for i in range(1, n):
        h *= GOLDEN
        h += found.hash[i : i + last]
    whole = found.text[:last] == found.text[n - 1 :]
    return mixed(h[whole]), found.text[:last][whole]


def hashed(vocabulary: Sequence[str]) -> Ints:
    """The hashes of single words, sorted: for `np.isin`."""
    return np.sort(words(vocabulary).hash)
