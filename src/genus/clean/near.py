"""Near-duplicate texts: the same words with some changed, cut, recased or spaced otherwise.

Likeness is the Jaccard index of two texts' sets of word pairs. Each text is sketched by one-permutation hashing (Li,
Owen and Zhang 2012): every shingle falls by its hash into one of 128 bins, each bin keeps its smallest, and empty
bins copy from others at random (optimal densification, Shrivastava 2017, arXiv 1703.04664), which costs one hash a
shingle where MinHash (Broder 1997) costs 128. Equal bins in any of 32 bands of 4 make a candidate, found with
likelihood 1 - (1 - J^4)^32: 0.988 at J = 0.6, over 0.999 from 0.7. The share of equal bins estimates J; within three
standard errors of the threshold the two texts are read again and J is counted.

Not here: paraphrase, translation, and a short text inside a long one (its Jaccard index is small).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, final

import numpy as np
from pydantic import Field

from genus.clean.rule import Pile, Twins
from genus.clean.twins import Found, Table, buckets, fresh
from genus.clean.words import shingles

__all__ = ["NearDuplicates"]

BINS, ROWS = 128, 4
BANDS = BINS // ROWS
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
#: Where an empty bin looks in its t-th try: the same for all texts, so equal texts stay equal.
_PROBES = np.random.Generator(np.random.PCG64(0x6E656172)).integers(0, BINS, (512, BINS), dtype=np.int64)


@final
class NearDuplicates(Twins):
    """Texts alike in more than `threshold` of their word pairs (Jaccard index); all but one of them go.

    shingle: words a shingle. least: words; shorter texts are left alone, since two of them may be alike by chance.
    short: words; below it more likeness is asked for, since one word in a short text says more ("a circle of radius
    4"). marks: whether punctuation counts, as it must in code. The record: 128 bins of 16 bits, a hash of the whole
    set of shingles, the number of words.
    """

    kind: Literal["clean.near.near_duplicates"] = "clean.near.near_duplicates"
    medium: Literal["text", "code"] = "text"
    threshold: float = Field(0.6, gt=0.3, le=1)
    shingle: int = Field(2, ge=1, le=8)
    least: int = Field(12, ge=2)
    short: int = Field(50, ge=1)
    marks: bool = False

    usual: ClassVar[tuple[str, ...]] = ("text", "code")
    width: ClassVar[int] = BINS * 2 + 16

    def serves(self, medium: str) -> bool:
        """Only its own medium: prose and code are never twins."""
        return medium == self.medium

    def record(self, pile: Pile) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.bool_]]]:
        """One sketch a text."""
        found = pile.tokens if self.marks else pile.words
        out = np.zeros((len(pile), self.width), np.uint8)
        hashes, text = shingles(found, self.shingle)
        bins, whole = sketch(hashes, text, len(pile))
        out[:, : BINS * 2] = bins.view(np.uint8)
        out[:, BINS * 2 : BINS * 2 + 8] = whole[:, None].view(np.uint8)
        out[:, BINS * 2 + 8 :] = found.counts[:, None].view(np.uint8)
        return out, found.counts >= max(self.least, self.shingle)

    def pairs(self, table: Table) -> Found:
        """Equal sets of shingles first, each of which then stands for its equals; the rest by bands."""
        shelf, rank = table.shelf, table.rank
        whole = shelf.columns(BINS * 2, BINS * 2 + 8, np.uint64)[:, 0]
        size = shelf.columns(BINS * 2 + 8, BINS * 2 + 16, np.int64)[:, 0]
        low, high = (side[: len(side)] for side in same(whole, rank))
        alone = np.ones(len(rank), bool)
        alone[high] = False
        places = np.flatnonzero(alone)
        lows, highs, alikes = [low], [high], [np.ones(len(low), np.float32)]
        seen = np.empty(0, np.int64)
        step = max(1, min(BANDS, (16 << 20) // (8 * max(len(rank), 1))))
        for band in range(0, BANDS, step):
            keys = shelf.columns(band * 8, min(band + step, BANDS) * 8, np.uint64)[places]
            for column in range(keys.shape[1]):
                left, right = buckets(keys[:, column], rank[places])
                a, b, seen = fresh(places[left], places[right], seen)
                # No two sets are more alike than their sizes (words stand for shingles, so with some room).
                fit = np.minimum(size[a], size[b]) >= (self.threshold - 0.15) * np.maximum(size[a], size[b])
                a, b = a[fit], b[fit]
                alike = self._compare(table, a, b, size)
                good = alike >= self._enough(size[a], size[b])
                lows.append(a[good])
                highs.append(b[good])
                alikes.append(alike[good])
        return Found(np.concatenate(lows), np.concatenate(highs), np.concatenate(alikes))

    def _enough(self, a: Any, b: Any) -> Any:
        """The threshold for two texts by their numbers of words: `threshold`, and for short ones up to halfway to 1."""
        short = np.clip((self.short - np.minimum(a, b)) / self.short, 0, 1)
        return self.threshold + (1 - self.threshold) / 2 * short

    def _compare(self, table: Table, low: Any, high: Any, size: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The Jaccard index of each pair: estimated, or counted where the estimate does not decide."""
        alike = np.empty(len(low), np.float32)
        for which, a, b in table.shelf.pairs(low, high):
            alike[which] = (a[:, : BINS * 2].view(np.uint16) == b[:, : BINS * 2].view(np.uint16)).mean(1)
        # A text of few words fills few bins: what its empty bins copied adds nothing to what is known.
        trials = np.minimum(BINS, np.minimum(size[low], size[high]))
        enough = self._enough(size[low], size[high])
        close = np.flatnonzero(np.abs(alike - enough) <= 3 * np.sqrt(enough * (1 - enough) / trials))
        for at in range(0, len(close), 128):
            some = close[at : at + 128]
            texts = table.read(np.unique(np.concatenate([low[some], high[some]])).tolist())
            for i in some.tolist():
                alike[i] = self.jaccard(texts[int(low[i])], texts[int(high[i])])
        return alike

    def jaccard(self, a: str, b: str) -> float:
        """The Jaccard index of two texts' sets of shingles, counted."""
        pile = Pile(self.medium, [a, b])
        hashes, text = shingles(pile.tokens if self.marks else pile.words, self.shingle)
        first, second = np.unique(hashes[text == 0]), np.unique(hashes[text == 1])
        both = len(np.intersect1d(first, second, assume_unique=True))
        return both / max(1, len(first) + len(second) - both)


def sketch(hashes: Any, text: Any, n: int) -> tuple[np.ndarray[Any, np.dtype[np.uint16]], Any]:
    """(uint16 [n, 128] bins, uint64 [n] hash of the multiset of shingles) of n texts; a text without shingles is all 0.

    hashes: uint64 [M]; text: int64 [M], ascending. The lowest 7 bits say the bin, the highest decide which is
    smallest, and the 16 above the lowest 7 are kept: they do not depend on being smallest.
    """
    flat = np.full(n * BINS, _EMPTY)
    np.minimum.at(flat, text * BINS + (hashes & np.uint64(BINS - 1)).astype(np.int64), hashes)
    least = flat.reshape(n, BINS)
    empty = least == _EMPTY
    there = ~empty.all(1)
    row, column = np.nonzero(empty & there[:, None])
    kept = ~empty
    for probe in _PROBES:
        if not len(row):
            break
        source = probe[column]
        full = kept[row, source]
        least[row[full], column[full]] = least[row[full], source[full]]
        row, column = row[~full], column[~full]
    # What 512 tries did not fill (a text of one or two shingles) takes the smallest of all.
    least[row, column] = least[row].min(1) if len(row) else 0
    least[~there] = 0
    whole = np.zeros(n, np.uint64)
    if len(text):
        starts = np.flatnonzero(np.diff(text, prepend=-1))
        whole[text[starts]] = np.add.reduceat(hashes, starts)
    return (least >> np.uint64(7)).astype(np.uint16), whole


def same(keys: Any, rank: Any) -> tuple[Any, Any]:
    """All items with the lowest rank among those of the same key: (low, high)."""
    order = np.lexsort((rank, keys))
    starts = np.ones(len(order), bool)
    starts[1:] = keys[order[1:]] != keys[order[:-1]]
    first = order[np.flatnonzero(starts)[np.cumsum(starts) - 1]] if len(order) else order
    return first[~starts], order[~starts]
