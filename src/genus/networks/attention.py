"""Attention over cells that have places on 1, 2 or 3 axes: rotary positions, the product, the memory of decoding.

The functions with a backward of their own do in a few passes over memory what torch's composed operators do in many: a
run that is too short to pay for compilation gains a third by them, a compiled one loses nothing.

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

Table = tuple[Tensor, Tensor]


def places(dims: tuple[int, ...], start: int = 0, count: int | None = None) -> Tensor:
    """Coordinates [N, axes] of cells start..start + count in raster order; the first axis may run beyond `dims`."""
    flat = torch.arange(start, start + (math.prod(dims) - start if count is None else count))
    columns: list[Tensor] = []
    for size in reversed(dims[1:]):
        columns.append(flat % size)
        flat = flat // size
    return torch.stack([flat, *reversed(columns)], dim=-1)


def rotary(place: Tensor, head: int, dtype: torch.dtype = torch.float32) -> Table:
    """Tables [N, 1, head] for `place` [N, axes]; pairs that no axis gets (head / 2 % axes) stand still.

    The longest wavelength is 2 pi x 10,000 on one axis (text), 2 pi x 100 on several (pictures are short).
    """
    axes = place.shape[1]
    pairs = head // 2 // axes
    longest = 10_000.0 if axes == 1 else 100.0
    speed = longest ** -(torch.arange(pairs, dtype=torch.float32) / max(1, pairs))
    angle = (place[:, :, None].float() * speed).flatten(1)  # [N, axes * pairs]
    angle = F.pad(angle, (0, head // 2 - angle.shape[1]))
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], -1)[:, None].to(dtype), torch.cat([-sin, sin], -1)[:, None].to(dtype)


@final
class Normal(torch.autograd.Function):
    """RMS normalisation over the last axis, without weights (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = (math.sqrt(x.shape[-1]) / length.clamp_min(1e-6)).to(x.dtype)
        y: Tensor = x * scale
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        y, scale = ctx.saved_tensors
        along = torch.linalg.vecdot(g, y)[..., None] * (-1 / y.shape[-1])
        dx: Tensor = torch.addcmul(g, y, along) * scale
        return dx


@final
class Turned(torch.autograd.Function):
    """Pairs (i, i + D / 2) of the last axis rotated; the gradient is the rotation back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return torch.addcmul(g * cos, g.roll(g.shape[-1] // 2, -1), sin, value=-1), None, None


@final
class Kept(torch.autograd.Function):
    """softmax(q k' / sqrt D) v with the probabilities kept: on CPUs twice as fast backward as torch's recomputation.

    q [B, N, D], k and v [B, M, D], heads counted in B; bias [B, 1, M] is added to the scores.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, bias: Tensor | None = None) -> Tensor:
        scale = 1 / math.sqrt(q.shape[-1])
        if causal:
            later = torch.full((q.shape[1], k.shape[1]), -1e9, dtype=q.dtype).triu(1)
            p = torch.softmax(torch.baddbmm(later, q, k.mT, alpha=scale), -1)
        elif bias is not None:
            p = torch.softmax(torch.baddbmm(bias, q, k.mT, alpha=scale), -1)
        else:
            p = torch.softmax(torch.bmm(q * scale, k.mT), -1)
        ctx.save_for_backward(q, k, v, p)
        return torch.bmm(p, v)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q, k, v, p = ctx.saved_tensors
        scale = 1 / math.sqrt(q.shape[-1])
        ds = torch.ops.aten._softmax_backward_data(torch.bmm(g, v.mT), p, -1, p.dtype)
        return torch.bmm(ds, k * scale), torch.bmm(ds.mT, q * scale), torch.bmm(p.mT, g), None, None


@final
class Relu2(torch.autograd.Function):
    """relu(x)^2 (So et al. 2021, arXiv 2109.08668)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        r = F.relu(x)
        ctx.save_for_backward(r)
        return r * r

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (r,) = ctx.saved_tensors
        return torch.addcmul(g.new_zeros(()), g, r, value=2)


def normal(x: Tensor) -> Tensor:
    """X over its root mean square along the last axis."""
    return taped(Normal, x)


def turn(x: Tensor, table: Table) -> Tensor:
    """X [B, N, heads, D] normalised (QK-norm: Henry et al. 2020, arXiv 2010.04245), then rotated."""
    return taped(Turned, taped(Normal, x), *table)


def relu2(x: Tensor) -> Tensor:
    """relu(x)^2."""
    return taped(Relu2, x)


def taped(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    """`function.apply`, which torch leaves untyped."""
    y: Tensor = function.apply(*args)  # type: ignore[no-untyped-call]
    return y


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, seen: int = 0, heard: Tensor | None = None) -> Tensor:
    """Q [B, N, heads, D], k and v [B, M, kv heads, D] -> [B, N, heads, D].

    causal: query i sees keys up to `seen + i`. heard: [B, M] bool, keys that count; None: all (not with causal).
    Several query heads may share one key head (Ainslie et al. 2023, arXiv 2305.13245).
    """
    b, n, heads, d = q.shape
    m, shared = k.shape[1], heads // k.shape[2]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if shared > 1:
        k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
    if torch.is_grad_enabled() and m <= KEPT and not seen:
        flat = (q.reshape(b * heads, n, d), k.reshape(b * heads, m, d), v.reshape(b * heads, m, d))
        bias = None
        if heard is not None:  # finite: a softmax over nothing must not be NaN
            bias = torch.zeros(heard.shape, dtype=q.dtype, device=q.device).masked_fill(~heard, -1e9)
            bias = bias[:, None].repeat_interleave(heads, 0)
        return taped(Kept, *flat, causal, bias).view(b, heads, n, d).transpose(1, 2)
    mask = torch.ones(n, m, dtype=torch.bool).tril(seen) if causal and seen and n > 1 else None
    mask = mask if heard is None else heard[:, None, None, :]
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
