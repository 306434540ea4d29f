"""General compressors as baselines of likelihood: a probability and a code length are the same thing (Shannon 1948).

Plain gzip and xz start from nothing, so they have not seen the training text. `primed` has: it is what the held-out
text adds to the archive of the training text, the fair opponent of a trained model.
"""

from __future__ import annotations

import gzip
import lzma
import zlib


def with_gzip(data: bytes) -> int:
    """Bytes after gzip -9."""
    return len(gzip.compress(data, 9, mtime=0))


def with_xz(data: bytes) -> int:
    """Bytes after xz -6 with a window that holds all of it."""
    return len(lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=_filters(len(data))))


def shortest(data: bytes) -> int:
    """Bytes as they are, deflated, or by LZMA: the least. Without containers, which would weigh in small items."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = len(squeeze.compress(data)) + len(squeeze.flush())
    return min(len(data), deflated, len(lzma.compress(data, lzma.FORMAT_RAW, filters=_filters(len(data)))))


def primed(data: bytes, train: bytes) -> int:
    """Bytes that `data` adds to xz of `train`, in a window that holds both."""
    filters = _filters(len(data) + len(train))
    both = len(lzma.compress(train + data, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=filters))
    return both - len(lzma.compress(train, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=filters))


def _filters(size: int) -> list[dict[str, int]]:
    window = 1 << max(16, min(27, size.bit_length()))
    return [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": window}]
