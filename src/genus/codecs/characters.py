"""Text as characters: those of the training data each have an id; any other is spelt in hexadecimal, so nothing is
lost.

ids: 0 .. 15 hexadecimal digits (two spell a byte of UTF-8), then the characters in order of code point, last the end
mark. For comparison with published character models; `codecs.bpe` is the better choice for use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from genus.codecs.ending import until_end
from genus.core import Codec, CodecConfig, Space


@final
class Characters:
    """str <-> [1, T] for a known alphabet."""

    streams = True
    coded = False

    def __init__(self, alphabet: str) -> None:
        self.alphabet = alphabet
        self.space = Space((0,), 1, 16 + len(alphabet) + 1)
        # From code point to id, -1 where the character has none: encoding is then one look-up.
        self._ids = np.full(0x110000, -1, np.int32)
        self._ids[[ord(c) for c in alphabet]] = np.arange(16, 16 + len(alphabet))

    @property
    def spelling(self) -> list[bytes]:
        """Characters in UTF-8; half bytes are nothing by themselves."""
        return [*[b""] * 16, *(c.encode() for c in self.alphabet), b""]

    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Each text as int32 [1, T + 1], the end mark last."""
        return [self._encode(text) for text in media]

    def _encode(self, text: str) -> Tensor:
        ids = self._ids[_points(text)]
        if (ids < 0).any():
            spelt: list[int] = []
            for char, i in zip(text, ids.tolist(), strict=True):
                spelt += [i] if i >= 0 else [d for b in char.encode(errors="replace") for d in (b >> 4, b & 15)]
            ids = np.array(spelt, np.int32)
        return torch.from_numpy(np.append(ids, np.int32(16 + len(self.alphabet))))[None]

    def like(self, media: Sequence[Any]) -> list[Any]:
        """Texts as they are."""
        return list(media)

    def lift(self, stored: Tensor) -> Tensor:
        """Ids as long."""
        return stored.long()

    def decode(self, x: Tensor) -> list[str]:
        """Ids [B, 1, T] as texts; digits that spell no UTF-8 become the replacement character."""
        texts = []
        for row in until_end(x, 16 + len(self.alphabet)):
            out, nibbles = bytearray(), [-1]
            for i in row:
                if i >= 16:
                    out += self.alphabet[i - 16].encode(errors="replace")
                    nibbles = [-1]
                elif nibbles[-1] < 0:
                    nibbles[-1] = i
                else:
                    out.append(nibbles[-1] << 4 | i)
                    nibbles = [-1]
            texts.append(out.decode(errors="replace"))
        return texts

    def save(self, folder: Path) -> CharactersConfig:
        """The alphabet stands in the configuration itself."""
        return CharactersConfig(alphabet=self.alphabet)


def _points(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@final
class CharactersConfig(CodecConfig):
    """alphabet: None learns it from the training data (at most `most` characters, the commonest)."""

    kind: Literal["codecs.characters"] = "codecs.characters"
    alphabet: str | None = None
    most: int = Field(4096, ge=0)

    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """Collect the characters of all training texts."""
        if self.alphabet is not None:
            return Characters(self.alphabet)
        counts: Counter[int] = Counter()
        for text in media():
            points, times = np.unique(_points(text), return_counts=True)  # as fast for Chinese as for English
            counts.update(dict(zip(points.tolist(), times.tolist(), strict=True)))
        commonest = sorted(counts, key=lambda c: (-counts[c], c))[: self.most]
        return Characters("".join(chr(c) for c in sorted(commonest) if not 0xD800 <= c <= 0xDFFF))

    def load(self, folder: Path) -> Codec:
        """From the resolved alphabet."""
        return Characters(self.alphabet or "")
