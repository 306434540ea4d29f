"""One layer of a decoder: attention and a feed-forward, or experts, around a stream that is normalised before each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genus.networks import selfattention
from genus.networks.again import through
from genus.networks.attention import Memory, Scaled, Table, Turned, attend, taped
from genus.networks.experts import Experts, gated
from genus.networks.packed import COLUMNS, PackedLinear

if TYPE_CHECKING:
    from genus.networks.decoder import DecoderConfig


def linear(config: DecoderConfig, inputs: int, outputs: int, bits: int | None, bias: bool) -> nn.Linear | PackedLinear:
    """A linear map, of few bits if the weights are compressed and its rows fit."""
    if config.bits is not None and bits is not None and inputs % COLUMNS == 0:
        return PackedLinear(inputs, outputs, bits, bias)
    return nn.Linear(inputs, outputs, bias=bias)


def weight(norm: nn.Module) -> Tensor:
    """Of a norm."""
    found = norm.weight
    assert isinstance(found, Tensor)
    return found


@final
class Layer(nn.Module):
    """x + attention, + feed-forward, each of the normalised stream. Weights of one product lie together.

    qkv: rows of all queries, of all keys, of all values. up: rows that are taken as they are, then those of the gate.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width, head, heads, kv_heads = config.width, config.head, config.heads, config.kv_heads
        self.head, self.heads, self.kv_heads, self.swiglu = head, heads, kv_heads, config.gate == "swiglu"
        self.each = config.qk_norm == "head"
        self.before = normed(config, width)
        bits, biases = config.bits, config.biases
        self.qkv = linear(config, width, (heads + 2 * kv_heads) * head, bits, bias="qkv" in biases)
        self.out = linear(config, heads * head, width, bits, bias="out" in biases)
        self.q_norm = self.k_norm = None
        if config.qk_norm != "none":
            self.q_norm = Rms(head if self.each else heads * head, config.eps)
            self.k_norm = Rms(head if self.each else kv_heads * head, config.eps)
        self.middle = normed(config, width)
        self.experts = self.up = self.down = None
        if config.mixture is not None:
            m = config.mixture
            sizes = (width, m.hidden, m.number, m.chosen, m.even, m.shared)
            self.experts = Experts(*sizes, m.balance, m.z, m.capacity)
        else:
            self.up = linear(config, width, config.hidden * (2 if self.swiglu else 1), bits, bias="ffn" in biases)
            self.down = linear(config, config.hidden, width, bits, bias="ffn" in biases)
        for part in (self.qkv, self.up):
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=0.6 / math.sqrt(width))
        for part in (self.out, self.down):
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.weight)
        for part in (self.qkv, self.out, self.up, self.down):
            if part is not None and part.bias is not None:
                nn.init.zeros_(part.bias)

    def forward(
        self, x: Tensor, table: Table | None, memory: Memory | None, layer: int, parted: Tensor | None = None
    ) -> Tensor:
        """x [B, n, width], as the next layer reads it. parted: see `attend`."""
        qkv = through(self.before, self.qkv, x)
        alone = memory is None and parted is None and self.q_norm is None
        if alone and table is not None and selfattention.serves(qkv.dtype, qkv.device, self.head):
            rows = qkv.view(*qkv.shape[:2], -1, self.head)
            y = selfattention.attended(rows, table, self.heads, True, normed=False)
        else:
            q, k, v = self.asked(qkv, table)
            seen: int | Tensor = 0
            if memory is not None:
                seen = memory.seen
                k, v = memory.add(layer, k, v)
            y = attend(q, k, v, True, seen, parted=parted)
        x = x + self.out(y.flatten(2))
        return x + self.fed(x)

    def asked(self, qkv: Tensor, table: Table | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, n, heads, head], turned to their places."""
        sizes = [self.heads * self.head, self.kv_heads * self.head, self.kv_heads * self.head]
        q, k, v = torch.split(qkv, sizes, -1)
        if self.q_norm is not None and self.k_norm is not None and not self.each:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (y.view(*y.shape[:-1], -1, self.head) for y in (q, k, v))
        if self.q_norm is not None and self.k_norm is not None and self.each:
            q, k = self.q_norm(q), self.k_norm(k)
        if table is not None:
            q, k = taped(Turned, q, *table), taped(Turned, k, *table)
        return q, k, v

    def fed(self, x: Tensor) -> Tensor:
        """What the feed-forward adds to x."""
        if self.up is None or self.down is None:
            assert self.experts is not None
            said: Tensor = self.experts(self.middle(x))
            return said
        return through(self.bent, self.down, through(self.middle, self.up, x))

    def bent(self, h: Tensor) -> Tensor:
        """What stands between the products of the feed-forward."""
        return gated(h) if self.swiglu else F.gelu(h, approximate="tanh")


@final
class Rms(nn.Module):
    """RMS normalisation over the last axis, with weights."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        """x as it is shaped."""
        return taped(Scaled, x, self.weight, self.eps)


def normed(config: DecoderConfig, width: int) -> nn.Module:
    """The norm of a stream."""
    return Rms(width, config.eps) if config.norm == "rms" else nn.LayerNorm(width, eps=config.eps)
