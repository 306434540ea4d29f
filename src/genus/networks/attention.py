"""Attention over cells that have places on 1, 2 or 3 axes: rotary positions, the product, the memory of decoding.

Knows neither layers nor weights. Rotary positions: Su et al. 2021 (arXiv 2104.09864), the pairs of a head divided among
the axes. Tables are computed for the places asked for, so no size is baked into a network.
"""

from __future__ import annotations

import math
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor

from genus.core import State

#: Up to so many keys the probabilities are kept for the backward pass; beyond, memory decides and torch recomputes.
KEPT = 1024


def places(dims: tuple[int, ...], start: int = 0, count: int | None = None) -> Tensor:
    """Coordinates [N, axes] of cells start..start + count in raster order; the first axis may run beyond `dims`."""
    flat = torch.arange(start, start + (math.prod(dims) - start if count is None else count))
    columns: list[Tensor] = []
    for size in reversed(dims[1:]):
        columns.append(flat % size)
        flat = flat // size
    return torch.stack([flat, *reversed(columns)], dim=-1)


def rotary(place: Tensor, head: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Cosines and sines [N, 1, head / 2] for `place` [N, axes]; pairs that no axis gets (head / 2 % axes) stand still.

    The longest wavelength is 2 pi x 10,000 on one axis (text), 2 pi x 100 on several (pictures are short).
    """
    axes = place.shape[1]
    pairs = head // 2 // axes
    longest = 10_000.0 if axes == 1 else 100.0
    speed = longest ** -(torch.arange(pairs, dtype=torch.float32) / max(1, pairs))
    angle = (place[:, :, None].float() * speed).flatten(1)  # [N, axes * pairs]
    angle = F.pad(angle, (0, head // 2 - angle.shape[1]))
    return angle.cos()[:, None].to(dtype), angle.sin()[:, None].to(dtype)


def turn(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """X [B, N, heads, D] RMS-normalised over the head (QK-norm: Henry et al. 2020, arXiv 2010.04245), then rotated."""
    x = F.rms_norm(x, x.shape[-1:])
    cos, sin = table
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


@final
class Kept(torch.autograd.Function):
    """softmax(q k' / sqrt D) v with the probabilities kept: on CPUs twice as fast backward as torch's recomputation.

    q [B, N, D], k and v [B, M, D], heads counted in B.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        s = torch.bmm(q, k.transpose(1, 2)).float() * (1 / math.sqrt(q.shape[-1]))
        if causal:
            later = torch.full(s.shape[-2:], -math.inf).triu(1)
            s = s + later
        p = torch.softmax(s, -1).to(q.dtype)
        ctx.save_for_backward(q, k, v, p)
        return torch.bmm(p, v)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        q, k, v, p = ctx.saved_tensors
        dv = torch.bmm(p.transpose(1, 2), g)
        dp = torch.bmm(g, v.transpose(1, 2)).float()
        pf = p.float()
        t = dp * pf
        ds = ((t - pf * t.sum(-1, keepdim=True)) * (1 / math.sqrt(q.shape[-1]))).to(q.dtype)
        return torch.bmm(ds, k), torch.bmm(ds.transpose(1, 2), q), dv, None


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, seen: int = 0) -> Tensor:
    """q [B, N, heads, D], k and v [B, M, kv heads, D] -> [B, N, heads, D].

    causal: query i sees keys up to `seen + i`. Several query heads may share one key head (Ainslie et al. 2023,
    arXiv 2305.13245).
    """
    b, n, heads, d = q.shape
    m, shared = k.shape[1], heads // k.shape[2]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if shared > 1:
        k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
    if torch.is_grad_enabled() and m <= KEPT and not seen:
        flat = (q.reshape(b * heads, n, d), k.reshape(b * heads, m, d), v.reshape(b * heads, m, d))
        y: Tensor = Kept.apply(*flat, causal)
        return y.view(b, heads, n, d).transpose(1, 2)
    mask = torch.ones(n, m, dtype=torch.bool).tril(seen) if causal and seen and n > 1 else None
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and n > 1 and mask is None)
    return y.transpose(1, 2)


@final
class Memory(State):
    """Keys and values of the cells seen so far, one pair of [B, cells, kv heads, D] a layer, room made beforehand."""

    def __init__(self, batch: int, cells: int, layers: int, heads: int, head: int, dtype: torch.dtype) -> None:
        shape = (layers, batch, cells, heads, head)
        self.k = torch.zeros(shape, dtype=dtype)
        self.v = torch.zeros(shape, dtype=dtype)
        self.seen = 0

    def add(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put in the new cells [B, n, heads, D]; returns all so far. The network moves `seen` after its last layer."""
        end = self.seen + k.shape[1]
        self.k[layer, :, self.seen : end] = k
        self.v[layer, :, self.seen : end] = v
        return self.k[layer, :, :end], self.v[layer, :, :end]
