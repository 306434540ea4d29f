"""The media genus reads and makes, one file each. Content decides what a file is; its name tells code from text."""

from __future__ import annotations

from genus.media import code, image, text
from genus.media.medium import Damaged, Medium

__all__ = ["HEAD", "MEDIA", "Damaged", "Medium", "sniff"]

#: By name, in the order in which they are asked whether a file is theirs.
MEDIA: dict[str, Medium] = {medium.name: medium for medium in (image.MEDIUM, code.MEDIUM, text.MEDIUM)}
#: So many first bytes are enough to tell.
HEAD = 16384


def sniff(head: bytes, name: str) -> str | None:
    """The medium of a file from its first bytes (up to `HEAD`) and its name; None: of no kind that genus reads."""
    return next((medium.name for medium in MEDIA.values() if medium.claims(head, name)), None)
