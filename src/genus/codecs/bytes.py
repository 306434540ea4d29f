"""Text as its UTF-8 bytes: 256 values and the end mark. Nothing is learned, and any text comes back unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from genus.codecs.ending import until_end
from genus.core import Codec, CodecConfig, Space


@final
class Bytes:
    """str <-> [1, T]; the end mark is the last id, 256."""

    space = Space((0,), 1, 257)
    streams = True
    coded = False

    @property
    def spelling(self) -> list[bytes]:
        """Each byte itself."""
        return [*(bytes([i]) for i in range(256)), b""]

    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Each text as int16 [1, bytes + 1]."""
        return [torch.from_numpy(_ids(text))[None] for text in media]

    def like(self, media: Sequence[Any]) -> list[Any]:
        """Texts as they are."""
        return list(media)

    def lift(self, stored: Tensor) -> Tensor:
        """Ids as long."""
        return stored.long()

    def decode(self, x: Tensor) -> list[str]:
        """Ids [B, 1, T] as texts; bytes that are no UTF-8 become the replacement character."""
        return [bytes(row).decode(errors="replace") for row in until_end(x, 256)]

    def save(self, folder: Path) -> BytesConfig:
        """Nothing to write."""
        return BytesConfig()


def _ids(text: str) -> np.ndarray[Any, np.dtype[np.int16]]:
    data = text.encode(errors="replace")  # half a surrogate pair has no UTF-8
    return np.append(np.frombuffer(data, np.uint8).astype(np.int16), np.int16(256))


@final
class BytesConfig(CodecConfig):
    """Bytes; no knobs."""

    kind: Literal["codecs.bytes"] = "codecs.bytes"

    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """Nothing to learn."""
        return Bytes()

    def load(self, folder: Path) -> Codec:
        """Nothing to read."""
        return Bytes()
