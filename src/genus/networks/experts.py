"""A feed-forward of many experts, of which each cell asks a few (Shazeer et al. 2017, arXiv 1701.06538).

A router gives every cell a probability for every expert; the likeliest `chosen` answer, weighed by these probabilities
(Jiang et al. 2024, arXiv 2401.04088: made to sum to 1 again; Muennighoff et al. 2024, arXiv 2409.02060: as they are). A
shared expert may answer every cell besides. No cell is dropped: each expert takes as many as ask it.
"""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@final
class Experts(nn.Module):
    """[B, N, width] -> the same; SwiGLU experts of `hidden` channels, their weights stacked along the first axis.

    even: the probabilities of those chosen are made to sum to 1. shared: hidden channels of the one that all ask, gated
    by a sigmoid of its own; 0: none.
    """

    def __init__(self, width: int, hidden: int, number: int, chosen: int, even: bool, shared: int) -> None:
        super().__init__()
        self.chosen, self.even = chosen, even
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
        weights, who = self.route(flat)
        y = torch.zeros_like(flat)
        for expert, (up, down) in enumerate(zip(self.up, self.down, strict=True)):
            cell, rank = (who == expert).nonzero(as_tuple=True)
            if len(cell):
                said = F.linear(gated(F.linear(flat[cell], up)), down)
                y = y.index_add(0, cell, said * weights[cell, rank, None])
        if self.shared_up is not None and self.shared_down is not None and self.shared_gate is not None:
            y = y + self.shared_gate(flat).sigmoid() * self.shared_down(gated(self.shared_up(flat)))
        return y.view_as(x)

    def route(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and indices [cells, chosen] of the experts that each cell asks."""
        weights, who = F.linear(flat, self.router.weight).float().softmax(-1).topk(self.chosen, dim=-1)
        if self.even:
            weights = weights / weights.sum(-1, keepdim=True)
        return weights.to(flat.dtype), who


def gated(h: Tensor) -> Tensor:
    """SwiGLU (Shazeer 2020, arXiv 2002.05202): the first half, by SiLU of the second."""
    a, g = h.chunk(2, dim=-1)
    return a * F.silu(g)
