"""How cells are read to tell the next one: behind a begin mark, in raster order; several texts of a row apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from genus.core.contracts import Network, Scoring, Several
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
    x, starts = begun(net, batch)
    if starts is None:
        said: Tensor = net(x, cond=batch.cond)
        return said
    assert isinstance(net, Several)
    return net.several(x, starts, batch.cond)


def next_nats(net: Network, batch: Batch, whole: bool = False) -> tuple[Tensor, Tensor | None]:
    """-log p of each cell of a batch given those before it, as x; where the mask does not count it is any number.

    whole: log Z of the logits as well. Raises as `next_logits` does.
    """
    if isinstance(net, Scoring):
        x, starts = begun(net, batch)
        nats, z = net.scored(x, batch.x, batch.mask, starts, batch.cond)
        return nats, z if whole else None
    logits = next_logits(net, batch)
    if not whole:
        flat = F.cross_entropy(logits.flatten(0, -2), batch.x.flatten(), reduction="none")
        return flat.view(batch.x.shape), None
    z = logits.logsumexp(-1)
    return z - logits.gather(-1, batch.x[..., None]).squeeze(-1), z


def begun(net: Network, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """What is read to tell the cells of a batch, and where in it texts begin if they shall be read apart."""
    vocab, starts = net.space.vocab, batch.extra.get(STARTS)
    if vocab is None:
        raise UsageError("cells one after another need tokens, but this space has no vocabulary; choose another codec")
    if starts is not None and not isinstance(net, Several):
        raise UsageError(f"{type(net).__name__} cannot read several texts apart; set source.alone to false")
    return behind(batch.x, vocab, starts), starts
