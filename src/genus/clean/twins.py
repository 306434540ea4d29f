"""Finding pairs in a table of short records, and what follows from pairs: groups, and who stays.

Records wait in an unnamed file, never in memory: a pass over it reads some columns, a pair reads its two rows. So
memory is some 40 bytes an item, whatever the items weigh. Rows are compared by *rank*: of two that are alike the
lower stays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

import numpy as np

__all__ = ["Found", "Shelf", "Table", "groups", "settle"]

Longs = np.ndarray[Any, np.dtype[np.int64]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_PIECE = 8 << 20


@final
@dataclass(frozen=True, slots=True)
class Found:
    """Pairs that are alike: int64 [P] each, places in the table, low ranks before high; float32 [P] how alike, 0 to
    1.
    """

    low: Longs
    high: Longs
    alike: np.ndarray[Any, np.dtype[np.float32]]


@final
class Shelf:
    """Fixed-width records, appended in order and read back by column or by row."""

    def __init__(self, width: int, place: Path | None = None) -> None:
        self.width = width
        self.rows = 0
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 (closed by `close`)

    def add(self, records: Bytes) -> None:
        """uint8 [n, width]."""
        self._file.write(np.ascontiguousarray(records).tobytes())
        self.rows += len(records)

    def columns(self, start: int, stop: int, dtype: Any) -> np.ndarray[Any, Any]:
        """Bytes start..stop of every record, as [rows, k] of `dtype`; one pass over the file."""
        out = np.empty((self.rows, (stop - start) // np.dtype(dtype).itemsize), dtype)
        step = max(1, _PIECE // self.width)
        self._file.seek(0)
        for row in range(0, self.rows, step):
            n = min(step, self.rows - row)
            piece = np.frombuffer(self._file.read(n * self.width), np.uint8).reshape(n, self.width)
            out[row : row + n] = np.ascontiguousarray(piece[:, start:stop]).view(dtype)
        return out

    def at(self, places: Sequence[int] | Longs) -> Bytes:
        """The records of some rows: uint8 [n, width]."""
        self._file.flush()
        # Mapped anew each time, so that pages read before do not count as ours.
        mapped = np.memmap(self._file, np.uint8, "r", shape=(self.rows, self.width))
        return np.array(mapped[np.asarray(places, np.int64)])

    def pairs(self, low: Longs, high: Longs, step: int = 1 << 14) -> Iterator[tuple[slice, Bytes, Bytes]]:
        """The records of some pairs, piece by piece: (which pairs, uint8 [n, width], uint8 [n, width])."""
        for start in range(0, len(low), step):
            which = slice(start, start + step)
            yield which, self.at(low[which]), self.at(high[which])

    def close(self) -> None:
        """The file is gone."""
        self._file.close()


@final
@dataclass(frozen=True, slots=True)
class Table:
    """What a rule sees of the items it compares: place i of each array is one item.

    shelf: their records. rank: int64, all different. read: decodes the items at some places, for a closer look.
    """

    shelf: Shelf
    rank: Longs
    read: Callable[[Sequence[int]], dict[int, Any]]


def buckets(keys: np.ndarray[Any, Any], rank: Longs) -> tuple[Longs, Longs]:
    """Candidate pairs of one band: within each run of equal keys every item with the run's lowest rank, and neighbours.

    Not all pairs: m equal keys give 2 m of them. Several bands, and transitivity for groups, find the rest.
    """
    if len(keys) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.argsort(keys)
    equal = keys[order[1:]] == keys[order[:-1]]
    shared = np.zeros(len(keys), bool)
    shared[1:] = equal
    shared[:-1] |= equal
    some = order[shared]
    some = some[np.lexsort((rank[some], keys[some]))]
    starts = np.ones(len(some), bool)
    starts[1:] = keys[some[1:]] != keys[some[:-1]]
    first = some[np.flatnonzero(starts)[np.cumsum(starts) - 1]]
    rest = np.flatnonzero(~starts)
    third = rest[~starts[rest - 1]]
    return np.concatenate([first[rest], some[third - 1]]), np.concatenate([some[rest], some[third]])


def fresh(low: Longs, high: Longs, seen: Longs) -> tuple[Longs, Longs, Longs]:
    """Pairs that were not seen before, each once, and all seen with them: (low, high, sorted codes)."""
    codes = np.unique(low << 32 | high)
    if len(seen):
        at = np.minimum(np.searchsorted(seen, codes), len(seen) - 1)
        codes = codes[seen[at] != codes]
        if not len(codes):
            return codes, codes, seen
    return codes >> 32, codes & 0xFFFFFFFF, np.sort(np.concatenate([seen, codes]), kind="stable")


def groups(n: int, low: Longs, high: Longs) -> Longs:
    """int64 [n]: the smallest member of each item's connected component."""
    if not len(low):
        return np.arange(n)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(low), np.int8), (low, high)), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    smallest = np.full(int(label.max()) + 1, n, np.int64)
    np.minimum.at(smallest, label, np.arange(n))
    out: Longs = smallest[label]
    return out


def settle(found: Found, rank: Longs, gone: np.ndarray[Any, Any], spare: Callable[[int, int], bool]) -> dict[int, int]:
    """Which items go, and for the sake of which: item -> index of the pair that decided.

    By rank, best first: an item goes if it is like one that stays, so of a chain A ~ B ~ C only B goes. `gone`: bool,
    items that went before; `spare(low, high)`: whether this pair may both stay.
    """
    went: dict[int, int] = {}
    order = np.lexsort((rank[found.low], rank[found.high]))
    for pair in order.tolist():
        low, high = int(found.low[pair]), int(found.high[pair])
        if high in went or low in went or gone[high] or gone[low] or spare(low, high):
            continue
        went[high] = pair
    return went
