"""What a recipe says of its source of batches, and the order in which samples come.

The order is a function of (seed, index) alone: epoch e runs through permutation e, so that resuming, another number of
workers or another batch size changes nothing about which sample comes when.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from genus.core import Batch, Borrowing, Codec, Source, Space
from genus.data.cache import Cache


class SourceConfig(Borrowing):
    """Reads an encoded split as batches.

    reading: names the way in which `encode` turns items into cells, where it is not the codec's own.
    """

    reading: ClassVar[str] = ""

    def encode(self, codec: Codec, media: Sequence[Any]) -> list[Tensor]:
        """What a cache is to hold of each item."""
        return codec.encode(media)

    def judged(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """What training is judged by, of the held-out split: each of its cells once."""
        return self.once(cache, codec, batch)

    @property
    def teacher(self) -> str | None:
        """An earlier phase whose model is learned from, by one that does not start from it; None: there is none."""
        return None

    @abstractmethod
    def space(self, space: Space) -> Space:
        """What the network will see of the codec's space (a stream gets its window here)."""

    @abstractmethod
    def over(self, cache: Cache, codec: Codec, seed: int, batch: int) -> Source:
        """Training batches: a function of (seed, step)."""

    @abstractmethod
    def samples(self, cache: Cache) -> int:
        """Samples of one epoch."""

    @abstractmethod
    def once(self, cache: Cache, codec: Codec, batch: int) -> Iterator[Batch]:
        """Every cell counted exactly once, in order; `ids` say of which record a row is."""


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The order of epoch `epoch`: n indices."""
    bits = np.random.Philox(key=np.array([seed & 0xFFFFFFFFFFFFFFFF, epoch], np.uint64))
    # Sorting random words gives a uniform permutation that does not depend on a library's shuffling algorithm.
    return np.argsort(bits.random_raw(n), kind="stable")


def order(seed: int, first: int, count: int, n: int) -> list[tuple[int, int]]:
    """(epoch, index) of the samples first .. first + count of an endless run over n."""
    return [(g // n, int(permutation(seed, g // n, n)[g % n])) for g in range(first, first + count)]
