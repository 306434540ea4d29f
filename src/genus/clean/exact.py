"""Exact duplicates: the same bytes from two places. Not here: the same words with other bytes (`genus.clean.near`)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, final

import numpy as np

from genus.clean.rule import Pile, Twins
from genus.clean.twins import Found, Table

__all__ = ["ExactDuplicates"]


@final
class ExactDuplicates(Twins):
    """Items of equal sha256; all but one of them go. The rows' own hashes tell them."""

    kind: Literal["clean.exact.exact_duplicates"] = "clean.exact.exact_duplicates"
    usual: ClassVar[tuple[str, ...]] = ("text", "code", "image")

    def record(self, pile: Pile) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], np.ndarray[Any, np.dtype[np.bool_]]]:
        """Nothing beyond the row."""
        return np.empty((len(pile), 0), np.uint8), np.ones(len(pile), bool)

    def pairs(self, table: Table) -> Found:
        """Each item with the lowest rank among its equals; `table.shelf` holds 16 bytes of sha256 a row."""
        keys = table.shelf.columns(0, 16, np.dtype("S16"))[:, 0]
        order = np.lexsort((table.rank, keys))
        starts = np.ones(len(order), bool)
        starts[1:] = keys[order[1:]] != keys[order[:-1]]
        first = order[np.flatnonzero(starts)[np.cumsum(starts) - 1]] if len(order) else order
        return Found(first[~starts], order[~starts], np.ones(int((~starts).sum()), np.float32))
