"""A feed-forward of many experts, of which each cell asks a few (Shazeer et al. 2017, arXiv 1701.06538).

A router gives every cell a probability for every expert; the likeliest `chosen` answer, weighed by these probabilities
(Jiang et al. 2024, arXiv 2401.04088: made to sum to 1 again; Muennighoff et al. 2024, arXiv 2409.02060: as they are). A
shared expert may answer every cell besides. Outside of training no cell is dropped: experts take as many as ask them.

In training the experts say three things of each sample (`core.asides`):

    balance    E sum_e f_e P_e, f the shares of what is asked, P the mean probabilities; 1 if all are asked alike
               (Fedus et al. 2021, arXiv 2101.03961)
    router_z   the mean of log(Z)^2 of the router's logits, which keeps these small (Zoph et al. 2022, arXiv 2202.08906)
    dropped    the share of what was asked that found its expert full

An expert is full when it has `capacity` times its even share of a sample: what asks it later in the sample goes
without. All three are of a sample by itself, where the papers take a batch: so a sample trains the same beside any
other, and no cell is dropped for what comes after it.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genus.core import aside, listened
from genus.networks.attention import taped


@final
class Experts(nn.Module):
    """[B, N, width] -> the same; SwiGLU experts of `hidden` channels, their weights stacked along the first axis.

    even: the probabilities of those chosen are made to sum to 1. shared: hidden channels of the one that all ask, gated
    by a sigmoid of its own; 0: none. balance, z: weights of these terms. capacity: see the module; None: never full.
    """

    stacked: ClassVar[tuple[str, ...]] = ("up", "down")

    def __init__(
        self,
        width: int,
        hidden: int,
        number: int,
        chosen: int,
        even: bool,
        shared: int,
        balance: float = 0.0,
        z: float = 0.0,
        capacity: float | None = None,
    ) -> None:
        super().__init__()
        self.chosen, self.even = chosen, even
        self.balance, self.z, self.capacity = balance, z, capacity
        self.router = nn.Linear(width, number, bias=False)
        self.up = nn.Parameter(torch.empty(number, 2 * hidden, width))
        self.down = nn.Parameter(torch.zeros(number, width, hidden))
        for weight in (self.router.weight, self.up):
            nn.init.normal_(weight, std=0.6 / math.sqrt(width))
        self.shared_up = self.shared_down = self.shared_gate = None
        if shared:
            self.shared_up = nn.Linear(width, 2 * shared, bias=False)
            self.shared_down = nn.Linear(shared, width, bias=False)
            self.shared_gate = nn.Linear(width, 1, bias=False)
            nn.init.normal_(self.shared_up.weight, std=0.6 / math.sqrt(width))
            nn.init.zeros_(self.shared_down.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Each expert once, on all cells that chose it."""
        flat = x.flatten(0, 1)
        logits = F.linear(flat, self.router.weight).float()
        p = logits.softmax(-1)
        weights, who = p.topk(self.chosen, dim=-1)
        if self.even:
            weights = weights / weights.sum(-1, keepdim=True)
        if self.training and (listened() or self.capacity is not None):
            who = self.taught(logits.view(*x.shape[:2], -1), p.view(*x.shape[:2], -1), who.view(len(x), -1)).view_as(
                who
            )
        weights = weights.to(flat.dtype)
        y = torch.zeros_like(flat)
        for expert, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            cell, rank = (who == expert).nonzero(as_tuple=True)
            if len(cell):
                said = F.linear(gated(F.linear(flat[cell], up)), down)
                y = y.index_add(0, cell, said * weights[cell, rank, None])
        if self.shared_up is not None and self.shared_down is not None and self.shared_gate is not None:
            y = y + self.shared_gate(flat).sigmoid() * self.shared_down(gated(self.shared_up(flat)))
        return y.view_as(x)

    def taught(self, logits: Tensor, p: Tensor, who: Tensor) -> Tensor:
        """Says what training is told; returns who is asked, -1 where an expert is full.

        logits, p: [B, N, experts]. who: [B, N chosen], cells in order and of each the likeliest first.
        """
        number = p.shape[-1]
        asked = F.one_hot(who, number)
        shares = asked.float().mean(1)
        aside("balance", number * (shares * p.mean(1)).sum(-1), self.balance)
        aside("router_z", logits.logsumexp(-1).square().mean(-1), self.z)
        if self.capacity is None:
            return who
        place = asked.cumsum(1).gather(-1, who[..., None])[..., 0]  # 1 for the first that asks an expert
        full = place > math.ceil(self.capacity * who.shape[1] / number)
        aside("dropped", full.float().mean(-1))
        return who.masked_fill(full, -1)


@final
class Gated(torch.autograd.Function):
    """See `gated`; keeps h alone."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        a, g = h.chunk(2, dim=-1)
        return a * F.silu(g)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        a, g = h.chunk(2, dim=-1)
        return torch.cat([dy * F.silu(g), torch.ops.aten.silu_backward(dy * a, g)], -1)


def gated(h: Tensor) -> Tensor:
    """SwiGLU (Shazeer 2020, arXiv 2002.05202): the first half, by SiLU of the second."""
    return taped(Gated, h)
