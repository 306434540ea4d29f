"""Rounding weights to few bits by what it does to a layer's output, not to the weights: two ways, alone or in a row.

    y = W x,  and  y' = Q(W diag(s)) Q(x / s)       Q: weights in groups (`packed.rounded`), activations 8 bits

`scaled` finds s, a factor a channel, as in AWQ (Lin et al. 2023, arXiv 2306.00978): s = (mean of |x|)^a, with the a of
`POWERS` whose y' is nearest to y on inputs that were seen. The factors are multiplied into what writes x, so nothing is
left of them. Because activations are rounded too, it also evens out channels that stand out (Xiao et al. 2022, arXiv
2211.10438). `fed_back` is GPTQ (Frantar et al. 2022, arXiv 2210.17323): one column after another is rounded, and the
columns to come are moved so that they make up for it, by the second moments of the inputs.
Knows no network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genus.networks.packed import COLUMNS, group, grouped, rounded

POWERS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
DAMP = 0.01  # of the mean second moment, added to all of them

Few = tuple[Tensor, Tensor, Tensor]


def numbers(few: Few, bits: int) -> Tensor:
    """What `rounded` left, as float32 [N, K]."""
    q, d, m = few
    each = d.float()[..., None] * grouped(q.float(), bits) + m.float()[..., None]
    return each.flatten(1)[:, : q.shape[1]]


def eighths(x: Tensor) -> Tensor:
    """Activations [.., K] after rounding to 8 bits, 32 at a time, as products of packed weights do."""
    groups = x.reshape(*x.shape[:-1], -1, COLUMNS)
    step = groups.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    return ((groups / step).round() * step).flatten(-2)


def scaled(w: Tensor, x: Tensor, bits: int, tied: Tensor | None = None) -> Tensor:
    """The factors s [K] of weights [N, K] whose inputs x [n, K] were seen.

    tied: [K] long, which channels must have the same factor (those with the same number); None: each its own.
    """
    size = x.abs().mean(0)
    if tied is not None:
        groups = int(tied.max()) + 1
        sums = size.new_zeros(groups).index_add(0, tied, size)
        size = (sums / tied.bincount(minlength=groups))[tied]
    size = size.clamp(min=1e-6)
    wanted = x @ w.T
    best, least = torch.ones_like(size), torch.inf
    for power in POWERS:
        s = size**power
        s = s / (s.max() * s.min()).sqrt()
        off = float((eighths(x / s) @ numbers(rounded(w * s, bits), bits).T - wanted).square().sum())
        if off < least:
            best, least = s, off
    return best


def fed_back(w: Tensor, moments: Tensor, bits: int) -> Few:
    """Weights [N, K] as `rounded` gives them. moments: x^T x [K, K] over inputs x that were seen."""
    w = w.clone()
    k = w.shape[1]
    damped = moments.double() + DAMP * moments.diagonal().mean().double().clamp(min=1e-12) * torch.eye(k)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True).float()
    parts = []
    for start in range(0, k, group(bits)):
        stop = min(k, start + group(bits))
        some = w[:, start:stop]
        _, d, m = rounded(some, bits)
        step = d.float()[:, 0].where(d[:, 0] > 0, torch.ones(len(w)))
        q, errors = torch.empty_like(some), torch.empty_like(some)
        for i in range(stop - start):
            column, weight = some[:, i], inverse[start + i, start + i]
            q[:, i] = ((column - m.float()[:, 0]) / step).round().clamp(0, 2**bits - 1)
            errors[:, i] = (column - (d.float()[:, 0] * q[:, i] + m.float()[:, 0])) / weight
            some[:, i + 1 :] -= errors[:, i, None] * inverse[start + i, start + i + 1 : stop]
        w[:, stop:] -= errors @ inverse[start:stop, stop:]
        parts.append((q.to(torch.uint8), d, m))
    q, d, m = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    return q, d, m
