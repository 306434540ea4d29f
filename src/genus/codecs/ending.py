"""The convention of every stream codec: its last id is the end mark, which closes each item."""

from __future__ import annotations

from torch import Tensor


def until_end(x: Tensor, end: int) -> list[list[int]]:
    """Rows of ids [B, 1, T], each cut before its first end mark."""
    rows: list[list[int]] = x[:, 0].tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]
