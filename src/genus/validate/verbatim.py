"""Text that is in the training data word for word, found by hashes of every window of bytes.

The windows of the texts in question are hashed once and kept; the training texts then stream past, so memory does not
grow with them. A window is hashed as a polynomial modulo 2^64 (Karp and Rabin 1987); with some 10^6 windows against
10^9 a false hit has a chance below 10^-4. Not here: copies that were reworded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
_FACTOR = 0x9E3779B97F4A7C15 | 1
_SIEVE = 22  # bits: a first look that throws out nearly all windows


@final
@dataclass(frozen=True, slots=True)
class Overlap:
    """The longest run of a text that training has too. length: bytes, 0 if under the window; start: in the text.

    source: index of a training document that holds the run's first window, -1 if there is none.
    """

    length: int
    start: int
    source: int


def overlaps(texts: Sequence[bytes], train: Iterable[bytes], window: int = 50) -> list[Overlap]:
    """The longest overlap of each text, in bytes, where it is at least `window` long."""
    hashes = [windows(t, window) for t in texts]
    known = np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
    if not len(known):
        return [Overlap(0, 0, -1) for _ in texts]
    source = np.full(len(known), -1, np.int64)
    sieve = np.zeros(1 << _SIEVE, bool)
    sieve[known >> np.uint64(64 - _SIEVE)] = True
    for index, document in enumerate(train):
        seen = windows(document, window)
        seen = seen[sieve[seen >> np.uint64(64 - _SIEVE)]]
        at = np.minimum(np.searchsorted(known, seen), len(known) - 1)
        hit = at[known[at] == seen]
        hit = hit[source[hit] < 0]
        source[hit] = index
    return [_longest(source[np.searchsorted(known, h)], window) for h in hashes]


def windows(data: bytes, width: int) -> Hashes:
    """A hash of each window of `width` bytes, [len - width + 1]; none if the text is shorter."""
    x = np.frombuffer(data, np.uint8)
    if len(x) < width:
        return np.zeros(0, np.uint64)
    # h[i] = sum_j x[i + j] f^(width - 1 - j), by doubling: hashes of 2w bytes from two of w bytes.
    value, power, done = _pieces(x.astype(np.uint64) + np.uint64(1), width)
    assert done == width and power is not None
    # A product's low bits know little of its high ones: mix, since the sieve reads those.
    value ^= value >> np.uint64(29)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(32)
    value *= np.uint64(0x94D049BB133111EB)
    return value


def _pieces(x: Hashes, width: int) -> tuple[Hashes, int, int]:
    """Hashes of windows of `width`: (hashes, factor ** width, width)."""
    if width == 1:
        return x.copy(), _FACTOR, 1
    half, power, done = _pieces(x, width // 2)
    value = half[:-done] * np.uint64(power) + half[done:]
    power, done = power * power % (1 << 64), done * 2
    if width % 2:
        value = value[:-1] * np.uint64(_FACTOR) + x[done:]
        power, done = power * _FACTOR % (1 << 64), done + 1
    return value, power, done


def _longest(source: NDArray[np.int64], window: int) -> Overlap:
    hit = np.concatenate([[False], source >= 0, [False]])
    edges = np.flatnonzero(hit[1:] != hit[:-1])
    if not len(edges):
        return Overlap(0, 0, -1)
    starts, stops = edges[::2], edges[1::2]
    best = int(np.argmax(stops - starts))
    start = int(starts[best])
    return Overlap(int(stops[best]) - start + window - 1, start, int(source[start]))
