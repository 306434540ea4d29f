"""An interpolated n-gram over bytes: what a language model must beat to be worth its training.

Modified Kneser-Ney with three discounts an order (Chen and Goodman 1999, An empirical study of smoothing techniques for
language modeling), down to the uniform distribution:

    P_k(w | h) = max(c(hw) - D(c(hw)), 0) / c(h) + gamma(h) P_{k-1}(w | h'),   h' = h without its oldest byte

where c counts occurrences at the highest order, and distinct bytes to the left below it. A document is its bytes and an
end mark, preceded by marks, so a document's first byte has a context too. All tables are sorted arrays of packed ids,
all look-ups vectorised; there is no training beyond counting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from genus.errors import UsageError

Ids = NDArray[np.uint64]
Floats = NDArray[np.float64]

BITS = 9  # a symbol: 256 bytes and the mark
MARK = 256
SYMBOLS = 257
LEAST = 0.1  # of a discount


@final
@dataclass(frozen=True, slots=True)
class Table:
    """One order: n-grams with their discounted count over c(h), contexts with the weight gamma(h) left for below."""

    grams: Ids
    mass: Floats
    contexts: Ids
    gamma: Floats


@final
@dataclass(frozen=True, slots=True)
class NGram:
    """Tables from order 1 up."""

    tables: tuple[Table, ...]

    def nats(self, document: bytes) -> float:
        """-log p(document and its end)."""
        return float(self.all_nats([document])[0])

    def all_nats(self, documents: Sequence[bytes]) -> Floats:
        """-log p of each document and its end, in nats."""
        if not documents:
            return np.zeros(0)
        order = len(self.tables)
        ids = _windows(documents, order)
        p = np.full(len(ids), 1.0 / SYMBOLS)
        for k, table in enumerate(self.tables, 1):
            gram = ids & _low(k)
            p = (
                _find(table.grams, table.mass, gram, 0.0)
                + _find(table.contexts, table.gamma, gram >> np.uint64(BITS), 1.0) * p
            )
        starts = np.cumsum([0, *(len(d) + 1 for d in documents[:-1])])
        each: Floats = np.add.reduceat(-np.log(p), starts)
        return each

    def following(self, before: bytes) -> Floats:
        """p of every symbol [257] behind a document's beginning; the last is its end."""
        order = len(self.tables)
        told = [*[MARK] * (order - 1), *before[len(before) - min(len(before), order - 1) :]][-(order - 1) :]
        context = 0
        for symbol in told if order > 1 else ():
            context = context << BITS | symbol
        ids = np.arange(SYMBOLS, dtype=np.uint64) | np.uint64(context << BITS & (1 << 64) - 1)
        p = np.full(SYMBOLS, 1.0 / SYMBOLS)
        for k, table in enumerate(self.tables, 1):
            gram = ids & _low(k)
            left = _find(table.contexts, table.gamma, gram[:1] >> np.uint64(BITS), 1.0)
            p = _find(table.grams, table.mass, gram, 0.0) + left * p
        return p

    def line(self, before: bytes, most: int = 120) -> bytes:
        """What it finds likeliest, byte by byte, up to the end of the line."""
        found = b""
        while len(found) < most:
            symbol = int(self.following(before[-len(self.tables) :] + found).argmax())
            if symbol in (MARK, 10):
                break
            found += bytes([symbol])
        return found


def count(documents: Iterable[bytes], order: int = 5) -> NGram:
    """The model of these documents; order: bytes of a window, 1 to 7, the predicted one among them."""
    if not 1 <= order <= 7:
        raise UsageError(f"order = {order}: an n-gram packed into 64 bits has 1 to 7 bytes")
    grams, counts = np.unique(_windows(list(documents), order), return_counts=True)
    tables = []
    for k in range(order, 0, -1):
        tables.append(_table(grams, counts))
        # One order down a gram counts once for every distinct symbol that was seen to its left.
        grams, counts = np.unique(grams & _low(k - 1), return_counts=True)
    return NGram(tuple(reversed(tables)))


def _windows(documents: Sequence[bytes], order: int) -> Ids:
    """The packed window that ends at each byte and at each document's end."""
    marks = np.full(order - 1, MARK, np.uint64)
    end = np.array([MARK], np.uint64)
    parts = [p for d in documents for p in (marks, np.frombuffer(d, np.uint8).astype(np.uint64), end)]
    if not parts:
        return np.zeros(0, np.uint64)
    x = np.concatenate(parts)
    ids = np.zeros(len(x), np.uint64)
    for back in range(order - 1, -1, -1):
        ids[back:] |= x[: len(x) - back] << np.uint64(BITS * back)
    # Positions of the leading marks predict nothing.
    counted = np.ones(len(x), bool)
    starts = np.cumsum([0, *(len(d) + order for d in documents[:-1])])
    for back in range(order - 1):
        counted[starts + back] = False
    return ids[counted]


def _table(grams: Ids, counts: NDArray[np.int64]) -> Table:
    """Discounts from the counts of counts; a table too small to estimate them takes one half."""
    n1, n2, n3, n4 = (float((counts == c).sum()) for c in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
    d1 = 1 - 2 * y * n2 / n1 if n1 and n2 else 0.5
    d2 = 2 - 3 * y * n3 / n2 if n2 and n3 else d1
    d3 = 3 - 4 * y * n4 / n3 if n3 and n4 else d2
    # Odd counts can put an estimate at zero or below, which would leave the unseen without any mass.
    steps = np.clip(np.array([0.0, d1, d2, d3]), [0.0, LEAST, LEAST, LEAST], [0.0, 1.0, 2.0, 3.0])
    discount = steps[np.minimum(counts, 3)]
    context = grams >> np.uint64(BITS)
    first = np.flatnonzero(np.concatenate([[True], context[1:] != context[:-1]])) if len(grams) else np.zeros(0, int)
    total = np.add.reduceat(counts, first).astype(np.float64) if len(grams) else np.zeros(0)
    left = np.add.reduceat(discount, first) if len(grams) else np.zeros(0)
    sizes = np.diff(np.append(first, len(grams)))
    return Table(grams, (counts - discount) / np.repeat(total, sizes), context[first], left / total)


def _find(keys: Ids, values: Floats, wanted: Ids, default: float) -> Floats:
    """values at the keys wanted, `default` where there is none."""
    if not len(keys):
        return np.full(len(wanted), default)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: Floats = np.where(keys[at] == wanted, values[at], default)
    return found


def _low(k: int) -> np.uint64:
    """Mask of the newest k symbols."""
    return np.uint64((1 << (BITS * k)) - 1)
