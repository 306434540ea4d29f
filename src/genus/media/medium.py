"""What a medium is: how its files are recognised, read, checked, written, shown, compared. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from genus.errors import GenusError


@final
class Damaged(GenusError):
    """A file that cannot be read as its medium. reason: short and stable, to count by; detail: what was seen."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@final
@dataclass(frozen=True)
class Medium:
    """One kind of media.

    claims: whether these first bytes of a file of this name are of this medium; content decides, a name only tells code
        from text.
    read: a file's bytes -> the media: str, or uint8 [H, W, C] with C 1, 3 or 4. Raises `Damaged`.
    check: as `read`, but only tells whether it would succeed, and whether there is anything in it. Raises `Damaged`.
    write: the media -> bytes that `read` gives back exactly. suffix: of such a file.
    preview: some media onto one page at the path (its suffix is replaced); returns the path written.
    fingerprint: 64 bits that stay near (in Hamming distance) or the same for the same thing stored otherwise.
    """

    name: str
    suffix: str
    claims: Callable[[bytes, str], bool]
    read: Callable[[bytes], Any]
    check: Callable[[bytes], None]
    write: Callable[[Any], bytes]
    preview: Callable[[Sequence[Any], Path], Path]
    fingerprint: Callable[[Any], int]
