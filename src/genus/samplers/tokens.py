"""One cell after another: draws tokens from next-cell logits, with a memory of the cells seen, known cells kept.

A cell is argmax(log p + Gumbel noise), so its draw is a function of (key, sample, cell) and of the sample's own past.
What changes p on the way: `filters`. How samples advance together, and guesses with them: `drawing`. Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Cond, Known, Noise, Predictor, Sampler, Space
from genus.errors import UsageError
from genus.samplers.beams import search
from genus.samplers.drawing import Drawing, Row
from genus.samplers.filters import filtered, penalised


@final
class Tokens(Sampler):
    """Raster order, behind a begin mark whose id is `vocab`.

    tokens: new cells at most; None: one window of them (stream), or all (each item fills its space). temperature: 0
    takes the likeliest. Filters: `top_k`, `top_p`, `min_p`, `typical_p`; penalties, which also bind temperature 0:
    `repetition_penalty` (1: none), `presence_penalty`, `frequency_penalty`; logit_bias: added to the logits of ids.
    lookup: guess what follows by what followed the last time that so many ids stood in the text; 0: no guesses. ahead:
    cells that are guessed at once, by lookup or by a draft (`learned.draft`). ends: the space has end marks: a sample
    stops at one, and is filled with the first of them. beams: nothing is drawn: so many texts are kept at a time, those
    of highest log p, and sample i is the i-th best by log p over its cells to the power of `length`; 0: none.
    """

    kind: Literal["samplers.tokens"] = "samplers.tokens"
    tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0)
    top_k: int | None = Field(None, ge=1)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    typical_p: float = Field(1.0, gt=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0)
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = Field(default_factory=dict)
    lookup: int = Field(0, ge=0, le=16)
    ahead: int = Field(4, ge=1, le=64)
    ends: bool = True
    beams: int = Field(0, ge=0, le=64)
    length: float = Field(1.0, ge=0, le=2)

    def stream(
        self, predict: Predictor, space: Space, cond: Cond, noise: Noise, known: Known | None = None
    ) -> Iterator[Tensor]:
        """Streams: [B, C, t] as far as all samples that have not ended have come, each time one has moved on. Else
        [B, C, *dims] after every row of the first axis, zeros to come.

        Known cells are kept as they are; each draw sees only those before it. A stream may run beyond the window: the
        network then goes on from the last half of it. Raises `UsageError` for a space without a vocabulary.
        """
        rows, x = self.rows(space, noise, known)
        if self.beams:
            search(predict, space, rows, cond)
            n = max(row.n for row in rows)
            yield x[:, :, :n] if self.ends else x.view(len(rows), space.channels, *space.dims)
            return
        drawing = Drawing(predict, space, rows, cond)
        shown, wide = -1, math.prod(space.dims[1:])
        while True:
            going = [row.n for row in rows if not row.done]
            n = min(going) if going else max(row.n for row in rows)
            if self.ends and n > shown >= 0:
                yield x[:, :, :n]
            elif not self.ends and (n // wide > shown // wide or not going):
                yield x.view(len(rows), space.channels, *space.dims)
            if not going:
                return
            shown = n
            drawing.step()

    def rows(self, space: Space, noise: Noise, known: Known | None) -> tuple[list[Row], Tensor]:
        """The samples of `noise`, to be drawn, and the cells [B, C, n] that they will fill.

        Raises `UsageError` for a space without a vocabulary, or a bias of an id that it does not have.
        """
        if space.vocab is None:
            raise UsageError(f"{self.kind} draws tokens, but this space has no vocabulary; choose another sampler")
        strange = [i for i in self.logit_bias if not 0 <= i < (space.vocab or 0)]
        if strange:
            raise UsageError(f"logit_bias = {strange[0]}: ids of this model are 0 to {space.vocab - 1}")
        x, given, lengths = prepared(known, len(noise), space)
        window = math.prod(space.dims)
        limits = lengths + (self.tokens or window) if self.ends else torch.full_like(lengths, window)
        more = int(limits.max()) - x.shape[2]
        if more > 0:
            x, given = torch.nn.functional.pad(x, (0, more)), torch.nn.functional.pad(given, (0, more))
        rules = known.rules if known is not None else ()
        rows = []
        for i, (start, limit) in enumerate(zip(lengths.tolist(), limits.tolist(), strict=True)):
            rule = rules[i] if rules else None
            rows.append(Row(self, noise.part(i, i + 1), x[i], given[i], start, limit, rule))
        return rows, x

    def choose(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        """The next ids [B, C] of rows that have these logits [B, C, V]."""
        logits = self.bent(logits, rows)
        if self.temperature == 0:
            return logits.argmax(-1)
        left = filtered(logits, self.temperature, self.top_k, self.top_p, self.min_p, self.typical_p)
        ids = torch.empty(left.shape[:2], dtype=torch.long)
        alike: dict[tuple[int, int], list[int]] = {}
        for i, row in enumerate(rows):
            alike.setdefault((row.noise.key, row.n), []).append(i)
        for (_, n), some in alike.items():
            noise = rows[some[0]].noise.of(rows[i].noise.samples[0] for i in some)
            last = some[-1] + 1  # those that stand together are not copied
            ids[some] = noise.chosen(n, left[some[0] : last] if last - some[0] == len(some) else left[some])
        return ids

    def bent(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        """Logits [B, C, V] of rows with biases, penalties and rules."""
        if self.logit_bias:
            ids = torch.tensor(list(self.logit_bias))
            logits = logits.index_add(
                -1, ids, torch.tensor(list(self.logit_bias.values())).expand(*logits.shape[:2], -1)
            )
        if self.repetition_penalty != 1 or self.presence_penalty or self.frequency_penalty:
            strengths = (self.repetition_penalty, self.presence_penalty, self.frequency_penalty)
            each = zip(logits, rows, strict=True)
            logits = torch.stack([penalised(y, row.past, row.drawn, *strengths) for y, row in each])
        if any(row.rule is not None for row in rows):
            logits = torch.stack([row.ruled(y) for y, row in zip(logits, rows, strict=True)])
        return logits


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
