"""What stands near a cell and before it, told to it at once: a causal convolution over tokens on 1, 2 or 3 axes.

A picture's next value hangs on those above and to the left of it. A sequence model has to find out where in its past
they stand; here they are looked up by place (as by the masked convolutions of van den Oord et al. 2016, arXiv
1601.06759). Only what comes before a cell in raster order is read.
"""

from __future__ import annotations

import itertools
import math
from typing import final

import torch
from torch import Tensor, nn

from genus.core import Space
from genus.networks.attention import places


def offsets(axes: int, reach: int) -> Tensor:
    """[K, axes]: the steps to all cells at most `reach` away on every axis that come earlier in raster order."""
    each = itertools.product(range(-reach, reach + 1), repeat=axes)
    return torch.tensor([step for step in each if step < (0,) * axes]).view(-1, axes)


def near(dims: tuple[int, ...], reach: int, start: int = 0, count: int | None = None) -> Tensor:
    """[N, K]: of cells start..start + count the earlier cells near each, as indices into raster order; -1: none there.

    The first axis may run beyond `dims`.
    """
    at = places(dims, start, count)[:, None] + offsets(len(dims), reach)  # [N, K, axes]
    inside = at[..., 0] >= 0
    index = at[..., 0]
    for axis, size in enumerate(dims[1:], 1):
        inside &= (at[..., axis] >= 0) & (at[..., axis] < size)
        index = index * size + at[..., axis]
    return torch.where(inside, index, -1)


def looked_up(space: Space, width: int, spread: float) -> nn.Embedding:
    """A table for the ids of all streams and their begin marks, at its start of this standard deviation.

    Ids that are levels of a scale (`Space.grain`) begin as a smooth curve: one that was never seen reads as those
    beside it.
    """
    assert space.vocab is not None
    table = nn.Embedding(space.channels * (space.vocab + 1), width)
    nn.init.normal_(table.weight, std=spread)
    if space.grain is not None:
        wave = torch.arange(1, 1 + min(WAVES, space.vocab))
        curve = torch.cos(math.pi * wave * torch.linspace(0, 1, space.vocab)[:, None])
        start = curve @ (torch.randn(len(wave), width) * spread * math.sqrt(2 / len(wave)))
        with torch.no_grad():
            table.weight.view(space.channels, space.vocab + 1, width)[:, : space.vocab] = start
    return table


WAVES = 16  # turns of the curve, at most


@final
class Neighbours(nn.Module):
    """ids [B, C, n], each the one before its cell (behind a begin mark) -> [B, N, width] for the last N cells."""

    def __init__(self, space: Space, reach: int, width: int, each: int) -> None:
        super().__init__()
        assert space.vocab is not None
        self.reach, self.vocab = reach, space.vocab
        self.embed = looked_up(space, each, 1.0)
        self.mix = nn.Linear(each * len(offsets(len(space.dims), reach)), width, bias=False)
        nn.init.normal_(self.mix.weight, std=0.5 / math.sqrt(self.mix.in_features))

    def forward(self, ids: Tensor, dims: tuple[int, ...], start: int = 0) -> Tensor:
        """For cells from `start` on. A neighbour outside of the grid reads as the begin mark, which stands first."""
        index = near(dims, self.reach, start, ids.shape[2] - start) + 1
        stream = torch.arange(ids.shape[1], device=ids.device) * (self.vocab + 1)
        found = self.embed(ids[:, :, index] + stream[:, None, None]).sum(1)  # [B, N, K, each]
        said: Tensor = self.mix(found.flatten(2))
        return said
