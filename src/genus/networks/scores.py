"""-log p of ids by an output matrix of many rows, without the logits of all cells at once.

    z = log sum_v exp(h w_v),    nats = z - h w_id

Of a block of cells the logits stand there in the number format of h, a few rows of them at a time in float32. What the
backward pass needs is worked out from them again; those of the last block, most often the only one, are kept for it.
Knows no network.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from genus import graphs
from genus.networks.attention import taped

BLOCK = 1 << 26  # logits at once, in the format of h
PART = 1 << 20  # of these in float32


@graphs.apart
def scored(h: Tensor, weight: Tensor, ids: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Nats and z, float32 [...], of ids [...] behind h [..., width]; 0 where `counts` is false. weight: [vocab, width].

    What does not count is not worked out.
    """
    flat, wanted = h.flatten(0, -2), ids.flatten()
    if counts is None:
        nats, z = taped(Scored, flat, weight, wanted)
        return nats.view(ids.shape), z.view(ids.shape)
    rows = counts.flatten().nonzero()[:, 0]
    found = taped(Scored, flat[rows], weight, wanted[rows])
    nats, z = (y.new_zeros(len(wanted)).index_put((rows,), y).view(ids.shape) for y in found)
    return nats, z


@final
class Scored(torch.autograd.Function):
    """h [n, width], weight [vocab, width], ids [n] -> nats and z, float32 [n]."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        nats, z = h.new_empty(len(h), dtype=torch.float32), h.new_empty(len(h), dtype=torch.float32)
        said = None
        for start, stop in blocks(len(h), weight):
            said = h[start:stop] @ weight.T
            for a, b in parts(start, stop, weight):
                p = said[a - start : b - start].float().log_softmax(-1)
                own = ids[a:b, None]
                nats[a:b] = -p.gather(1, own)[:, 0]
                z[a:b] = said[a - start : b - start].gather(1, own)[:, 0].float() + nats[a:b]
        ctx.save_for_backward(h, weight, ids, z)
        ctx.said = said
        return nats, z

    @staticmethod
    def backward(ctx: Any, g_nats: Tensor, g_z: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        h, weight, ids, z = ctx.saved_tensors
        kept, ctx.said = ctx.said, None
        both, dh, dw = (g_nats + g_z)[:, None], torch.empty_like(h), None
        several = len(h) > 1 and blocks(len(h), weight)[0][1] < len(h)
        for start, stop in reversed(blocks(len(h), weight)):
            said = h[start:stop] @ weight.T if kept is None else kept
            kept = None
            for a, b in parts(start, stop, weight):
                some = said[a - start : b - start]
                p = (some.float() - z[a:b, None]).exp_().mul_(both[a:b])
                some.copy_(p.scatter_add_(1, ids[a:b, None], -g_nats[a:b, None]))
            torch.mm(said, weight, out=dh[start:stop])
            if ctx.needs_input_grad[1]:
                one = said.T @ h[start:stop]
                dw = one if dw is None and not several else one.float() if dw is None else dw.add_(one)
        return dh, None if dw is None else dw.to(weight.dtype), None


def blocks(rows: int, weight: Tensor) -> list[tuple[int, int]]:
    """(first row, the one after the last) of each block."""
    size = max(1, BLOCK // len(weight))
    return [(start, min(rows, start + size)) for start in range(0, rows, size)]


def parts(start: int, stop: int, weight: Tensor) -> list[tuple[int, int]]:
    """The same of the parts of a block."""
    size = max(1, PART // len(weight))
    return [(a, min(stop, a + size)) for a in range(start, stop, size)]
