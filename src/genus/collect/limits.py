"""How much one bad file may cost, and the words by which bad items are counted.

Not here: the limits of a picture's pixels (`genus.media.image`). The figures are generous for real data: English text
packs about 4 to 1 and logs rarely 100 to 1, while a bomb of one layer of DEFLATE comes near its bound, 1,032 to 1.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import final

from genus.errors import GenusError

EMPTY = "empty"
TRUNCATED = "truncated"
DAMAGED = "damaged"
ENCODING = "encoding"
UNKNOWN = "unknown type"
LARGE = "too large"
BOMB = "archive bomb"
NESTED = "nested too deep"
ENCRYPTED = "encrypted"
TRAVERSAL = "path out of the archive"
LINK_OUT = "link out of the root"
LINK_LOOP = "link loop"
LINK_BROKEN = "broken link"
SPECIAL = "not a regular file"
UNREADABLE = "unreadable"
COLUMNS = "no content column"
ROW = "bad row"


@final
@dataclass(frozen=True)
class Limits:
    """Sizes in bytes. A file over `item` is cut if it is text, and quarantined as "too large" if not."""

    piece: int = 16 << 10
    """Text above this is cut into items of at most this size."""
    code: int = 1 << 20
    """The same for code, which is worth more whole."""
    item: int = 256 << 20
    """One image, one row of a table, one column's value."""
    row: int = 32 << 20
    """One line or record of a .jsonl or .csv."""
    unpacked: int = 1 << 38
    """What one archive may unpack to, with all archives inside it."""
    members: int = 10_000_000
    """How many files an archive may hold."""
    ratio: int = 250
    """Unpacked over packed; asked only once `ratio_from` is reached."""
    ratio_from: int = 32 << 20
    nesting: int = 3
    """Archives inside archives."""
    depth: int = 100
    """Folders inside folders."""


USUAL = Limits()


@final
class Bad(Exception):
    """A file cannot be used. reason: one of the words above; detail: what was seen."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def said(error: BaseException) -> str:
    """What an error says, without paths of this machine: details are stored, and may not differ between runs."""
    return error.strerror or "" if isinstance(error, OSError) and error.errno is not None else str(error)[:200]


def full_disk(error: OSError, place: object) -> None:
    """A full disk is our failure, not the file's: raises `GenusError`, or returns if `error` is something else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise GenusError(
            f"the disk of {place} is full; free some space and run again: no version was harmed"
        ) from error
