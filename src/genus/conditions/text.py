"""Text as a condition: a caption's byte pairs, read by a small causal transformer, on two roads at once.

tokens: what each id means after those before it, for networks that attend; vector: the end mark's, which has seen the
whole text, for networks that are modulated (as in CLIP: Radford et al. 2021, arXiv 2103.00020). The encoder is any
causal network of a recipe's choice, built over a space of embeddings, so nothing of it is written again here; without
one the ids' embeddings go as they are to a network that reads them itself. The vocabulary is learned from the training
captions and stands in the configuration. Data that says nothing gives no road.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Literal, Self, final

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from genus.bytepairs import BytePairs, learned
from genus.core import Cond, Conditioner, ConditionerConfig, NetworkConfig, Noise, Roads, Space
from genus.errors import UsageError
from genus.parts import Any_


@final
class Text(Conditioner):
    """The first field of `reads` that says something -> vector [B, width], tokens [B, length, width], or one of both.

    Tokens behind a text's end mark are zeros, which is padding (`Cond`); the null is one learned token and vector.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.reads, self.dropout = config.reads, config.dropout
        self.known = [text for text, _ in config.captions or ()]
        self.counts = list(accumulate(n for _, n in config.captions or ()))
        self.pairs = BytePairs(config.definition) if config.definition else None
        self.roads = Roads()
        if self.pairs is None:
            return
        assert config.length, "a fitted configuration states its length"
        self.length, width = config.length, config.width
        self.roads = Roads(vector=width if config.vector else None, tokens=width if config.tokens else None)
        self.embedding = nn.Embedding(self.pairs.end + 1, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.encoder = None if config.encoder is None else config.encoder.build(Space((self.length,), width), Roads())
        self.whole = nn.Linear(width, width) if config.vector else None
        self.nothing = nn.Parameter(torch.randn(2, width))  # the null's vector and its one token

    def forward(self, fields: Mapping[str, Sequence[Any]], noise: Noise | None = None) -> Cond:
        """See the class; a text that is missing, empty or dropped is the null, one that is too long is cut."""
        if self.pairs is None:
            return Cond()
        columns = [fields[name] for name in self.reads if name in fields]
        if not columns:
            raise UsageError(f"this model is asked by {self.reads[0]!r}; given: {', '.join(fields) or 'nothing'}")
        texts = [first(values) for values in zip(*columns, strict=True)]
        device = self.nothing.device
        vector, tokens = self.read([text or "" for text in texts])
        given = torch.tensor([text is not None for text in texts], device=device)
        kept = self.kept(noise)
        given = given if kept is None else given & kept.to(device)
        return self._on_roads(
            None if vector is None else torch.where(given[:, None], vector, self.nothing[0]),
            torch.where(given[:, None, None], tokens, self._token),
        )

    def _on_roads(self, vector: Tensor | None, tokens: Tensor) -> Cond:
        return Cond(vector, None if self.roads.tokens is None else tokens)

    def read(self, texts: Sequence[str]) -> tuple[Tensor | None, Tensor]:
        """Vectors [B, width], where that road is taken, and tokens [B, length, width] of texts."""
        assert self.pairs is not None
        rows = [
            row if len(row) <= self.length else [*row[: self.length - 1], self.pairs.end] for row in self.ids(texts)
        ]
        sizes = torch.tensor([len(row) for row in rows])
        ids = torch.full((len(rows), self.length), self.pairs.end)
        for place, row in zip(ids, rows, strict=True):
            place[: len(row)] = torch.tensor(row)
        device = self.nothing.device
        ids, sizes = ids.to(device), sizes.to(device)
        x = self.embedding(ids)
        # Causal: what stands behind a text's end changes nothing before it.
        h = F.rms_norm(x if self.encoder is None else x + self.encoder(x.mT).mT.to(x.dtype), x.shape[-1:])
        real = torch.arange(self.length, device=device) < sizes[:, None]
        vector = None if self.whole is None else self.whole(h[torch.arange(len(h), device=device), sizes - 1])
        return vector, h * real[:, :, None]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Byte pairs of texts, each with its end mark."""
        return [] if self.pairs is None else self.pairs.ids(texts)

    def null(self, batch: int) -> Cond:
        """The learned vector, and the learned token before padding, `batch` times."""
        if self.pairs is None:
            return Cond()
        vector = None if self.whole is None else self.nothing[0].expand(batch, -1)
        return self._on_roads(vector, self._token.expand(batch, -1, -1))

    @property
    def _token(self) -> Tensor:
        """The null's tokens, [length, width]: one and padding."""
        return F.pad(self.nothing[1:], (0, 0, 0, self.length - 1))

    def draw(self, noise: Noise, asked: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Captions of the training data, as often as they occur there, where nothing was asked."""
        if not self.known or asked:
            return dict(asked)
        at = (noise.uniform(0) * self.counts[-1]).tolist()
        return {self.reads[0]: [self.known[bisect(self.counts, u)] for u in at]}


def first(values: Sequence[Any]) -> str | None:
    """The first value that says something, as text."""
    return next((str(v) for v in values if v is not None and str(v).strip()), None)


@final
class TextConfig(ConditionerConfig):
    """field: of the record; instead: the one that is read where it is missing or empty (None: the null is taken).

    encoder: a causal network; None: tokens are embeddings, and there is no vector. width: of both roads. tokens,
    vector: whether that road is taken; without tokens, a network that is only modulated can be asked too. vocab: ids of
    the byte pairs, None chooses by the data. most: ids of a text that are read, at most, its end mark among them. kept:
    different training captions that `draw` may give.
    definition, length, captions: found in the data; empty where fewer than two texts are.
    """

    kind: Literal["conditions.text"] = "conditions.text"
    encoder: Any_[NetworkConfig] | None
    field: str = "caption"
    instead: str | None = "label"
    width: int = Field(128, gt=0)
    tokens: bool = True
    vector: bool = True
    dropout: float = Field(0.1, ge=0, lt=1)
    vocab: int | None = Field(None, ge=257)
    most: int = Field(64, ge=2)
    kept: int = Field(1000, ge=0)
    definition: str | None = None
    length: int | None = Field(None, ge=2)
    captions: tuple[tuple[str, int], ...] | None = None

    @field_validator("encoder")
    @classmethod
    def _causal(cls, encoder: NetworkConfig | None) -> NetworkConfig | None:
        if (
            encoder is not None and getattr(encoder, "causal", False) is not True
        ):  # else a text would see what it is padded with
            raise ValueError("a text's encoder must be causal: networks.transformer with causal = true")
        return encoder

    @model_validator(mode="after")
    def _heard(self) -> Self:
        if not (self.tokens or self.vector):
            raise ValueError("a text takes tokens or vector, or both; with neither it would say nothing")
        if self.encoder is None and self.vector:
            raise ValueError("vector = true needs an encoder: without one nothing has read the whole text")
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        """The field, and the one instead of it."""
        return (self.field,) if self.instead is None else (self.field, self.instead)

    def fit(self, fields: Callable[[], Iterator[Mapping[str, Any]]]) -> Self:
        """Learn the byte pairs, the length, and which captions there are."""
        if self.definition is not None:
            return self
        said = (first([f.get(name) for name in self.reads]) for f in fields())
        counts = Counter(text for text in said if text is not None)
        if len(counts) < 2:
            return self.but(definition="", captions=())
        ordered = sorted(counts.items())
        pairs = learned(lambda: (text for text, n in ordered for _ in range(n)), self.vocab)
        longest = max(len(row) for row in pairs.ids([text for text, _ in ordered]))
        # By their hashes: a choice that neither the alphabet nor the order of the files makes.
        some = sorted(ordered, key=lambda item: blake2b(item[0].encode(errors="replace")).digest())[: self.kept]
        length = min(self.most, -(-longest // 8) * 8)
        return self.but(definition=pairs.definition, length=length, captions=tuple(sorted(some)))

    def build(self, space: Space) -> Text:
        """The module, its weights at their start."""
        return Text(self)
