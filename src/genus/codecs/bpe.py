"""Byte pairs learned from the user's own text, as a codec. The encoding itself: `genus.bytepairs`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, final

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genus import files
from genus.bytepairs import GAPS, BytePairs, learned, spelled
from genus.codecs.ending import until_end
from genus.core import Codec, CodecConfig, Gaps, Space
from genus.errors import GenusError


@final
class Bpe:
    """str <-> [1, T]; the definition is written beside the weights."""

    streams = True
    coded = False

    def __init__(self, pairs: BytePairs, gaps: bool = False) -> None:
        self.pairs, self.definition, self.end = pairs, pairs.definition, pairs.end
        self.space = Space((0,), 1, self.end + 1)
        self.gaps = Gaps(self.end - 3, self.end - 2, self.end - 1, turned=True) if gaps else None

    @property
    def spelling(self) -> list[bytes]:
        """See `Spelled`."""
        return spelled(
            self.pairs.tokenizer, self.space.vocab or 0, [*self.space.stops, *(self.gaps.ids if self.gaps else ())]
        )

    def encode(self, media: Sequence[Any]) -> list[Tensor]:
        """Each text as int32 [1, T + 1], the end mark last. The end mark's own spelling in a text is only text."""
        return [torch.tensor([row], dtype=torch.int32) for row in self.pairs.ids(media)]

    def like(self, media: Sequence[Any]) -> list[Any]:
        """Texts as they are."""
        return list(media)

    def lift(self, stored: Tensor) -> Tensor:
        """Ids as long."""
        return stored.long()

    def decode(self, x: Tensor) -> list[str]:
        """Ids [B, 1, T] as texts; bytes that are no UTF-8 become the replacement character."""
        return self.pairs.texts(until_end(x, self.end))

    def save(self, folder: Path) -> BpeConfig:
        """Write `tokenizer.json`, which other libraries read too."""
        files.write(folder / "tokenizer.json", self.definition)
        return BpeConfig(vocab=self.end + 1, gaps=self.gaps is not None)


@final
class BpeConfig(CodecConfig):
    """vocab: ids, the end mark among them; None chooses from the bytes seen (512 at 64 KB .. 8192 from 16 MB on).

    gaps: with three ids that tell a gap to be filled (`Gapped`). What follows it is told first: small models that had
    to find their way back over it filled gaps worse than they went on without it.
    """

    kind: Literal["codecs.bpe"] = "codecs.bpe"
    vocab: int | None = Field(None, ge=257)  # all bytes and the end mark
    sample_bytes: int = Field(64 << 20, ge=1)  # learn from at most so much; more changes merges little and memory much
    gaps: bool = False

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.gaps and self.vocab is not None and self.vocab < 257 + len(GAPS):
            raise ValueError(f"vocab = {self.vocab} has no room for bytes, marks of gaps and the end mark; take 260")
        return self

    def fit(self, media: Callable[[], Iterator[Any]]) -> Codec:
        """Learn the merges from the training texts."""
        return Bpe(learned(media, self.vocab, self.sample_bytes, GAPS if self.gaps else ()), self.gaps)

    def load(self, folder: Path) -> Codec:
        """Read `tokenizer.json`."""
        try:
            return Bpe(BytePairs((folder / "tokenizer.json").read_text(encoding="utf-8")), self.gaps)
        except (OSError, ValueError) as error:
            raise GenusError(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
