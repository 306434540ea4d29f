"""A layer of the transformer: attention and feed-forward on a residual stream, and three ways to be told tokens.

cross: x asks the tokens after it has asked itself. prefix: the tokens stand before x in one sequence, under the same
weights (Ramesh et al. 2021, arXiv 2102.12092). joint: the same sequence, but weights and modulation of the tokens are
their own (Esser et al. 2024, arXiv 2403.03206). Knows neither spaces nor losses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genus.networks import selfattention
from genus.networks.attention import Memory, Table, attend, normal, turn
from genus.networks.bytewise import Panels, fits
from genus.networks.rowwise import let_in, normed, squared

Mods = tuple[Tensor, ...] | None  # shift, scale, gate of both halves, each [B, 1, width]


@final
@dataclass(frozen=True)
class Told:
    """Tokens of a condition on their way through the layers: x [B, L, width], those that are no padding `heard` [B, L].

    mods: of each layer, where the tokens are part of the sequence.
    """

    x: Tensor
    heard: Tensor
    table: Table
    mods: list[Mods]


@final
class Block(nn.Module):
    """x + attention, (+ cross-attention), + feed-forward, each on the normalised stream.

    told: how it is told tokens; None: not at all. last: of the layers, so that what becomes of the tokens is not used.
    mute: only asked, it has no output of its own.
    """

    def __init__(
        self,
        width: int,
        head: int,
        heads: int,
        kv_heads: int,
        ffn: float,
        gate: Literal["relu2", "swiglu"],
        causal: bool,
        dropout: float,
        told: Literal["cross", "prefix", "joint"] | None = None,
        last: bool = False,
        mute: bool = False,
    ) -> None:
        super().__init__()
        self.head, self.heads, self.kv_heads = head, heads, kv_heads
        self.causal, self.swiglu, self.dropout, self.last = causal, gate == "swiglu", dropout, last
        hidden = max(16, round(ffn * width / 16) * 16)
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * head, bias=False)
        self.squared = False  # `up` squares what it says itself
        self.out = self.up = self.down = None
        if not mute:
            self.out = nn.Linear(heads * head, width, bias=False)
            self.up = nn.Linear(width, hidden * (2 if self.swiglu else 1), bias=False)
            self.down = nn.Linear(hidden, width, bias=False)
        self.ask = self.told = self.answer = self.other = None
        if told == "cross":
            self.ask = nn.Linear(width, heads * head, bias=False)
            self.told = nn.Linear(width, 2 * kv_heads * head, bias=False)
            self.answer = nn.Linear(heads * head, width, bias=False)
        for linear in (self.qkv, self.up, self.ask, self.told):
            if linear is not None:
                nn.init.normal_(linear.weight, std=0.6 / math.sqrt(width))
        for linear in (self.out, self.down, self.answer):
            if linear is not None:
                nn.init.zeros_(linear.weight)
        if told == "joint":
            self.other = Block(width, head, heads, kv_heads, ffn, gate, causal, dropout, mute=last)

    def forward(
        self,
        x: Tensor,
        table: Table,
        mods: Mods,
        told: Told | None,
        memory: Memory | None,
        layer: int,
        parted: Tensor | None = None,
        begun: Tensor | None = None,
    ) -> tuple[Tensor, Told | None]:
        """x [B, N, width] and what it was told, both as the next layer reads them.

        Of several texts in a row it is told either of the walls between them (parted: see `attend`) or, where attention
        goes in one pass, where each cell's begins (begun: see `selfattention`).
        """
        qkv = self.projected(x, mods)
        alone = memory is None and parted is None and (told is None or self.told is not None)
        if alone and selfattention.serves(qkv.dtype, qkv.device, self.head):
            y = selfattention.attended(qkv, table, self.heads, self.causal, begun).flatten(2)
            return self.answered(x, y, mods, told), told
        q, k, v = self.asked(qkv, table)
        if self.told is None and told is not None:  # one sequence, the tokens first
            weights = self.other or self
            first = weights.asked(weights.projected(told.x, told.mods[layer]), told.table)
            q, k, v = (torch.cat(pair, 1) for pair in zip(first, (q, k, v), strict=True))
        seen: int | Tensor = 0
        heard = None
        if memory is not None:
            seen = memory.seen
            k, v = memory.add(layer, k, v)
            heard = None if memory.heard is None else memory.heard[:, : k.shape[1]]
        elif self.told is None and told is not None:
            heard = F.pad(told.heard, (0, x.shape[1]), value=True)
        y = attend(q, k, v, self.causal, seen, heard, parted).flatten(2)
        if self.told is None and told is not None:
            before, y = y[:, : told.x.shape[1]], y[:, told.x.shape[1] :]
            if not self.last:
                told = replace(told, x=weights.answered(told.x, before, told.mods[layer], None))
        return self.answered(x, y, mods, told), told

    def projected(self, x: Tensor, mods: Mods) -> Tensor:
        """Queries, keys and values, one behind another: [B, N, heads + 2 kv heads, head]."""
        qkv: Tensor = self.qkv(modulated(x, mods, 0))
        return qkv.view(*x.shape[:2], self.heads + 2 * self.kv_heads, self.head)

    def asked(self, qkv: Tensor, table: Table) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [B, N, heads, head], those that are compared normalised and rotated."""
        both = self.heads + self.kv_heads
        qk, v = turn(qkv[:, :, :both], table), qkv[:, :, both:]
        return qk[:, :, : self.heads], qk[:, :, self.heads :], v

    def answered(self, x: Tensor, y: Tensor, mods: Mods, told: Told | None) -> Tensor:
        """x with what attention found, y [B, N, heads x head], and what the feed-forward makes of both.

        Gates start at one, not at zero: what they let in starts at zero by its projection already, and one of the two
        must move.
        """
        assert self.out is not None and self.up is not None and self.down is not None, "a mute block has no output"
        x = let_in(x, self.drop(self.out(y)), None if mods is None else mods[2])
        if told is not None and self.ask is not None and self.told is not None and self.answer is not None:
            q = normal(self.ask(normal(x)).view(*x.shape[:2], self.heads, self.head))
            k, v = self.told(told.x).view(*told.x.shape[:2], -1, self.head).chunk(2, dim=2)
            # Keys know their order even if what made the tokens forgot to say it: unordered text teaches nothing.
            k = turn(k, told.table)
            x = x + self.answer(attend(q, k, v, causal=False, heard=told.heard).flatten(2))
        h = self.up(modulated(x, mods, 3))
        if self.swiglu:
            a, g = h.chunk(2, dim=-1)
            h = a * F.silu(g)
        elif not self.squared:
            h = squared(h)
        return let_in(x, self.drop(self.down(h)), None if mods is None else mods[5])

    def rounded(self) -> None:
        """From now on it draws with products of bytes, where their sizes allow it."""
        for name, part in list(self.named_children()):
            if isinstance(part, nn.Linear) and fits(part):
                squared = name == "up" and not self.swiglu
                setattr(self, name, Panels(part.weight, squared))
                self.squared |= squared

    def drop(self, y: Tensor) -> Tensor:
        """Dropout on what a block adds; not a module, so that a rate of zero leaves no trace in a graph."""
        return F.dropout(y, self.dropout) if self.training and self.dropout else y


def modulated(x: Tensor, mods: Mods, at: int) -> Tensor:
    """Normalised, then scaled and shifted by what time and vector say."""
    return normed(x) if mods is None else normed(x, mods[at], mods[at + 1])
