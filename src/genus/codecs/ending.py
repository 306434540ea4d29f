"""The convention of every stream codec: an end mark closes each item; its id is the last, or named by the space."""

from __future__ import annotations

from torch import Tensor


def until_end(x: Tensor, *ends: int) -> list[list[int]]:
    """Rows of ids [B, 1, T], each cut before its first end mark."""
    rows: list[list[int]] = x[:, 0].tolist()
    return [row[: min((row.index(end) for end in ends if end in row), default=len(row))] for row in rows]
