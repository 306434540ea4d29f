"""Autoregression: log p(x) = sum over cells of log p(cell | the cells before it), in raster order of any dims. Exact.

The network reads x moved on by one cell, behind a begin mark whose id is `vocab`, and says the logits of x itself; so
an item's first cell has a likelihood too, and shapes stay as they are. Streams (C > 1) of one cell are predicted side
by side, independent given the cells before; a delay pattern (Copet et al. 2023, arXiv 2306.05284) is a permutation of x
before this objective and after its sampler, and changes nothing here. Knows no network and no codec.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import STARTS, Batch, Draws, LogProb, Metrics, Nets, Network, Noise, Objective, Predictor, next_nats
from genus.samplers.tokens import Tokens


def ended(batch: Batch) -> Batch:
    """A batch of sequences without the cells behind the last that counts in any: none before them reads these."""
    if batch.mask is None or batch.x.dim() != 3 or batch.cond.grid is not None:
        return batch
    counted = batch.mask.any(0).any(0).nonzero()
    stop = int(counted[-1]) + 1 if len(counted) else 1
    extra = {k: v[:, :stop] if k == STARTS else v for k, v in batch.extra.items()}
    return replace(batch, x=batch.x[:, :, :stop], mask=batch.mask[:, :, :stop], extra=extra)


LOGITS = 1 << 27  # numbers at once, where no gradient is wanted


@final
class Autoregression(Objective):
    """Next-cell cross-entropy in nats.

    z_loss: weight of log(Z)^2, which keeps logits from drifting (Chowdhery et al. 2022, arXiv 2204.02311); the log's
    `nats` are without it. ends: items are streams whose last id is the end mark; false: each fills its space.
    """

    kind: Literal["objectives.autoregression"] = "objectives.autoregression"
    family: ClassVar[str] = "autoregression"
    coarse: ClassVar[bool] = True
    z_loss: float = Field(0.0, ge=0)
    ends: bool = True

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """None: nothing here is random."""
        return {}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over the cells that count, each sample times its weight; logs the same without z_loss."""
        nats, z = (y.flatten() for y in self._nats(nets, batch))
        counts = torch.ones_like(nats) if batch.mask is None else batch.mask.flatten().to(nats.dtype)
        if batch.weight is not None:
            counts_weighted = counts * batch.weight.repeat_interleave(nats.numel() // len(batch))
        else:
            counts_weighted = counts
        number = counts.sum().clamp(min=1)
        loss = (nats * counts_weighted).sum() / number
        metrics = {"loss": loss.detach()}
        if self.z_loss:
            metrics["nats"] = metrics["loss"]
            loss = loss + self.z_loss * (z.square() * counts_weighted).sum() / number
        return loss, metrics

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Exact: the sum over the cells that count, [B] float64. One pass, of few samples at a time where the logits
        of all would be large.
        """
        batch, found = ended(batch), []
        net = nets["net"]
        assert isinstance(net, Network)
        each = max(1, LOGITS // max(1, batch.x[0].numel() * (net.space.vocab or 1)))
        for start in range(0, len(batch), each):
            part = batch.part(start, start + each)
            with torch.no_grad():
                nats, _ = self._nats(nets, part)
            counted = nats.double() if part.mask is None else nats.double() * part.mask
            found.append(-counted.view(len(part), -1).sum(1))
        return LogProb(torch.cat(found), exact=True)

    def cells(self, nets: Nets, batch: Batch) -> Tensor:
        """-log p of each cell given those before it, [B, C, *dims]; its gradient is kept. 0 where the mask does not
        count.
        """
        nats = self._nats(nets, batch)[0]
        return nats if batch.mask is None else nats * batch.mask

    def predictor(self, nets: Nets) -> Predictor:
        """The network as it is: cells behind a begin mark -> logits of the cell that follows each."""
        net = nets["net"]
        assert isinstance(net, Network)
        return net

    def sampler(self) -> Tokens:
        """Raster order, one cell after another."""
        return Tokens(ends=self.ends)

    def _nats(self, nets: Nets, batch: Batch) -> tuple[Tensor, Tensor]:
        """-log p of each cell, as x, and log Z of its logits where that is asked for."""
        net = nets["net"]
        assert isinstance(net, Network)
        nats, z = next_nats(net, batch, whole=self.z_loss > 0)
        return nats, nats if z is None else z
