"""How cells are read to tell the next one: behind a begin mark, in raster order; several texts of a row apart."""

from __future__ import annotations

import torch
from torch import Tensor

from genus.core.contracts import Network, Several
from genus.core.words import Batch
from genus.errors import UsageError

STARTS = "starts"  # in `extra`: [B, N] bool, cells that begin a text, where the texts of a row shall not see each other


def behind(x: Tensor, begin: int, starts: Tensor | None = None) -> Tensor:
    """X [B, C, *dims] moved on by one cell in raster order, `begin` first: what is read where x is predicted.

    starts: [B, N] bool, other cells that are read behind `begin`.
    """
    flat = x.flatten(2)
    moved = torch.cat([torch.full_like(flat[:, :, :1], begin), flat[:, :, :-1]], dim=2)
    return (moved if starts is None else moved.masked_fill(starts[:, None], begin)).view(x.shape)


def next_logits(net: Network, batch: Batch) -> Tensor:
    """What a network says of each cell of a batch given those before it, logits [B, C, *dims, V].

    Raises `UsageError` without a vocabulary, and for texts to be read apart by a network that cannot.
    """
    vocab = net.space.vocab
    if vocab is None:
        raise UsageError("cells one after another need tokens, but this space has no vocabulary; choose another codec")
    starts = batch.extra.get(STARTS)
    if starts is None:
        said: Tensor = net(behind(batch.x, vocab), cond=batch.cond)
        return said
    if not isinstance(net, Several):
        raise UsageError(f"{type(net).__name__} cannot read several texts apart; set source.alone to false")
    return net.several(behind(batch.x, vocab, starts), starts, batch.cond)
