"""What the stage keeps of every row while it cleans: 11 bytes in memory, 40 in an unnamed file, and no content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from genus.clean.twins import Shelf
from genus.data.dataset import Dataset, split_of

__all__ = ["COLUMNS", "PLACES", "Rows", "piles", "printed"]

#: The columns that cleaning fills; a row is written only where one of them changes.
COLUMNS = ("status", "reason", "cleaned", "language", "group", "split", "notes")
PLACES = ("", "train", "val", "test")
WHERE = "status IN ('kept', 'removed')"
#: Content is read in three passes by size, so that one large row does not make batches of small ones short; a batch
#: holds at most `READ` bytes (one row may be larger), which is also what the arrays of words are cut for.
TIERS = (1 << 14, 1 << 18, 1 << 62)
READ = 4 << 20


@final
@dataclass(frozen=True)
class Rows:
    """The rows that have content, in the order of the dataset.

    size: int64. declared: uint8, places in `PLACES`. drawn: uint8, the split by the content's hash. medium: uint8,
    places in `media`. media: names. marks: on disk, of each row its id (16 bytes), the first half of its content's
    sha256 (16), and a hash of what may tell equal contents apart, the caption (8).
    """

    size: np.ndarray[Any, Any]
    declared: np.ndarray[Any, Any]
    drawn: np.ndarray[Any, Any]
    medium: np.ndarray[Any, Any]
    media: tuple[str, ...]
    marks: Shelf

    def __len__(self) -> int:
        return len(self.size)

    @staticmethod
    def of(data: Dataset) -> Rows:
        """One pass over the small columns."""
        media: dict[str, int] = {}
        parts: dict[str, list[Any]] = {name: [] for name in ("size", "declared", "drawn", "medium")}
        marks = Shelf(40, data.path.parent)
        names = ["id", "sha256", "medium", "size", "caption", "declared"]
        for batch in data.scan(names, WHERE, batch=8192):
            column = {name: batch.column(name).to_pylist() for name in names}
            some = zip(column["id"], column["sha256"], column["caption"], strict=True)
            marks.add(np.stack([_mark(*one) for one in some]))
            parts["size"].append(batch.column("size").to_numpy())
            parts["declared"].append(np.array([PLACES.index(d or "") for d in column["declared"]], np.uint8))
            parts["drawn"].append(np.array([PLACES.index(split_of(sha)) for sha in column["sha256"]], np.uint8))
            parts["medium"].append(
                np.array([media.setdefault(m or "", len(media)) for m in column["medium"]], np.uint8)
            )
        empty = {"size": "i8", "declared": "u1", "drawn": "u1", "medium": "u1"}
        whole = {k: np.concatenate(v) if v else np.empty(0, empty[k]) for k, v in parts.items()}
        return Rows(**whole, media=tuple(media), marks=marks)

    def ids(self, places: Sequence[int]) -> list[str]:
        """The ids of some rows."""
        return [bytes(mark[:16]).hex() for mark in self.marks.at(places)]

    def keys(self, places: Sequence[int]) -> list[bytes]:
        """Hashes of their captions; of a row without one, zeros."""
        return [bytes(mark[32:]) for mark in self.marks.at(places)]

    def rank(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Who stays of two that are alike: declared test, then validation, then the larger, then the earlier row."""
        # Sizes in steps of a twelfth, so that a space at the end does not decide over the earlier row.
        large = np.floor(np.log2(np.maximum(self.size, 1)) * 8)
        order = np.lexsort((np.arange(len(self)), -large, -self.declared.astype(np.int64) * (self.declared > 1)))
        rank = np.empty(len(self), np.int64)
        rank[order] = np.arange(len(self))
        return rank


def _mark(item: str, sha: str, caption: str | None) -> Any:
    key = (
        bytes(8)
        if caption is None
        else hashlib.blake2b(caption.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    )
    return np.frombuffer(bytes.fromhex(item) + bytes.fromhex(sha[:32]) + key, np.uint8)


def piles(data: Dataset, rows: Rows, columns: Sequence[str]) -> Iterator[tuple[Any, Any]]:
    """(places in `rows`, a record batch) with content, over all rows; small ones first, many at a time."""
    least = -1
    for most in TIERS:
        places = np.flatnonzero((rows.size > least) & (rows.size <= most))
        if len(places):
            where = f"{WHERE} AND size > {least} AND size <= {most}"
            count = max(1, min(256, READ // max(1, int(rows.size[places].max()))))
            at = 0
            for batch in data.scan(columns, where, batch=count):
                yield places[at : at + batch.num_rows], batch
                at += batch.num_rows
        least = most


def printed(values: Sequence[Any]) -> int:
    """64 bits of a row's values in `COLUMNS`: whether a row changed is told without keeping the old one."""
    h = hashlib.blake2b(digest_size=8)
    for value in values:
        piece = (
            b"" if value is None else value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        )
        h.update(b"-" if value is None else b"%d:" % len(piece))
        h.update(piece)
    return int.from_bytes(h.digest(), "little")


def noted(text: str | None) -> dict[str, Any]:
    """A row's notes as a dictionary; what is not one counts as none."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
