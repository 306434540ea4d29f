"""One cell after another: draws tokens from next-cell logits, with a memory of the cells seen, known cells kept.

A cell is argmax(log p + Gumbel noise), so its draw is a function of (key, sample, cell) and of the sample's own past.
The filters are temperature, top-k (Fan et al. 2018, arXiv 1805.04833), top-p (Holtzman et al. 2020, arXiv 1904.09751)
and min-p (Nguyen et al. 2024, arXiv 2407.01082), in this order, each on what the one before has left. Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Cond, Known, Noise, Predictor, Sampler, Space
from genus.errors import UsageError


def filtered(logits: Tensor, temperature: float, top_k: int | None, top_p: float, min_p: float) -> Tensor:
    """Logits [..., V] over the temperature, -inf where a filter takes the id away. At least one id remains.

    top_p keeps the smallest set of likeliest ids whose probability reaches it; min_p those at least so likely as that
    fraction of the likeliest.
    """
    logits = logits.double() / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if top_p < 1:
        falling, order = logits.softmax(-1).sort(dim=-1, descending=True)
        surplus = falling.cumsum(-1) - falling >= top_p  # what stands before an id reaches top_p already
        logits = logits.masked_fill(torch.zeros_like(surplus).scatter(-1, order, surplus), -math.inf)
    if min_p > 0:
        best = logits.max(-1, keepdim=True).values
        logits = logits.masked_fill(logits < best + math.log(min_p), -math.inf)
    return logits


@final
class Tokens(Sampler):
    """Raster order, behind a begin mark whose id is `vocab`.

    tokens: new cells at most; None: one window of them (stream), or all (each item fills its space). temperature: 0
    takes the likeliest. ends: the space has end marks: a sample stops at one, and is filled with the first of them.
    """

    kind: Literal["samplers.tokens"] = "samplers.tokens"
    tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0)
    top_k: int | None = Field(None, ge=1)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    ends: bool = True

    def stream(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Iterator[Tensor]:
        """Streams: [B, C, t] after every cell. Else [B, C, *dims] after every row of the first axis, zeros to come.

        Known cells are kept as they are; each draw sees only those before it. A stream may run beyond the window: the
        network then goes on from the last half of it. Raises `UsageError` for a space without a vocabulary.
        """
        if space.vocab is None:
            raise UsageError(f"{self.kind} draws tokens, but this space has no vocabulary; choose another sampler")
        size, window, row = len(noise), math.prod(space.dims), math.prod(space.dims[1:])
        x, given, lengths = prepared(known, size, space)
        room = self.tokens or window
        limits = lengths + room if self.ends else torch.full_like(lengths, window)
        total = int(limits.max())
        if total > x.shape[2]:
            more = total - x.shape[2]
            x, given = torch.nn.functional.pad(x, (0, more)), torch.nn.functional.pad(given, (0, more))
        reader = Reader(predict, space, cond, size, window)
        done, stops = torch.zeros(size, dtype=torch.bool), torch.tensor(space.stops)
        for n in range(int(lengths.min()), total):
            free = ~given[:, :, n] & ~done[:, None]  # [B, C]
            if bool(free.any()):
                draw = self._draw(reader.logits(x[:, :, :n]), noise, n)
                x[:, :, n] = torch.where(free, draw, x[:, :, n])
            if self.ends:
                x[:, :, n] = torch.where(done[:, None] & ~given[:, :, n], space.stops[0], x[:, :, n])
                # A known cell never ends a sample: what follows it may be known as well.
                ended = torch.isin(x[:, :, n], stops).all(1) & (n >= lengths)
                done |= ended | (n + 1 >= limits)
                yield x[:, :, : n + 1]
                if bool(done.all()):
                    return
            elif (n + 1) % row == 0:
                yield x.view(size, space.channels, *space.dims)
        if total == int(lengths.min()):  # all was known
            yield x if self.ends else x.view(size, space.channels, *space.dims)

    def _draw(self, logits: Tensor, noise: Noise, n: int) -> Tensor:
        """Ids [B, C] from logits [B, C, V] for cell n."""
        if self.temperature == 0:
            return logits.argmax(-1)
        left = filtered(logits, self.temperature, self.top_k, self.top_p, self.min_p)
        return (left + noise.gumbel(n, left.shape[1:])).argmax(-1)


def prepared(known: Known | None, size: int, space: Space) -> tuple[Tensor, Tensor, Tensor]:
    """(x [B, C, n] long, given [B, C, n] bool, lengths [B]): the known cells, flat, and how many stand at the front."""
    channels, cells = space.channels, 0 if known is None else math.prod(known.x.shape[2:])
    x = torch.zeros(size, channels, cells, dtype=torch.long)
    given = torch.zeros(size, channels, cells, dtype=torch.bool)
    if known is not None:
        given |= known.mask.flatten(2)
        x = torch.where(given, known.x.flatten(2).long(), x)
    whole = given.all(1)
    return x, given, whole.cummin(1).values.sum(1) if cells else torch.zeros(size, dtype=torch.long)


@final
class Reader:
    """Logits of the next cell, computing each cell once where the predictor has a memory."""

    def __init__(self, predict: Predictor, space: Space, cond: Cond, size: int, window: int) -> None:
        self.predict, self.space, self.cond, self.size, self.window = predict, space, cond, size, window
        self.first = 0  # the cell that stands behind the begin mark: moves on when a stream outgrows the window
        self.fed = 0  # inputs that the memory holds
        self.state = predict.start(size, space.dims[0])

    def logits(self, x: Tensor) -> Tensor:
        """Of the cell that follows x [B, C, n]: [B, C, V]."""
        n = x.shape[2]
        if n - self.first + 1 > self.window:
            self.first, self.fed = n - max(1, self.window // 2), 0
            self.state = self.predict.start(self.size, self.space.dims[0])
        assert self.space.vocab is not None
        begin = x.new_full((self.size, self.space.channels, 1), self.space.vocab)
        inputs = torch.cat([begin, x[:, :, self.first :]], dim=2)
        last = inputs.shape[2] - 1
        if self.state is not None:
            new = self.predict(inputs[:, :, self.fed :], cond=self.cond, state=self.state)
            self.fed = inputs.shape[2]
            return new[:, :, -1]
        if len(self.space.dims) == 1:
            return self.predict(inputs, cond=self.cond)[:, :, last]
        # Without a memory the whole grid is read; what comes later cannot be seen from here.
        inputs = torch.nn.functional.pad(inputs, (0, self.window - inputs.shape[2]))
        return self.predict(inputs.view(self.size, -1, *self.space.dims), cond=self.cond).flatten(2, -2)[:, :, last]
