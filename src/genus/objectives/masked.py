"""Masked modelling: some cells are hidden, all of them are guessed at once; drawn in a few rounds, the surest first.

Chang et al. 2022 (arXiv 2202.04200). The same network is a diffusion over tokens: with each cell hidden independently
at rate u, and u even, the errors over u bound log p(x) (Sahoo et al. 2024, arXiv 2406.07524). The id of a hidden cell
is `vocab`. Knows no network and no codec.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Cond, Draws, LogProb, Metrics, Nets, Network, Noise, Objective, along
from genus.errors import UsageError
from genus.objectives.denoising import evenly
from genus.samplers.rounds import Rounds


@final
class Masked(Objective):
    """Cross-entropy of the hidden cells, in nats.

    schedule: how many are hidden: `cosine`, as the rounds of sampling meet them; `even`, as the bound weighs them.
    looks: rates a sample in `log_prob`.
    """

    kind: Literal["objectives.masked"] = "objectives.masked"
    family: ClassVar[str] = "masked"
    schedule: Literal["cosine", "even"] = "cosine"
    looks: int = Field(16, ge=2)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """hidden [B, C, *dims] bool; at least one cell of each sample."""
        u = evenly(noise.child("rates"))
        rate = torch.cos(u * (math.pi / 2)) if self.schedule == "cosine" else u
        return {"hidden": hidden(noise.uniform(0, batch.x.shape[1:]), rate)}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over hidden cells that count, each sample times its weight."""
        nats = self._nats(nets, batch.x, draws["hidden"], batch.cond)
        counts = draws["hidden"] if batch.mask is None else draws["hidden"] & batch.mask
        weight = counts.float() if batch.weight is None else counts * along(batch.weight, nats)
        loss = (nats * weight).sum() / counts.sum().clamp(min=1)
        return loss, {"loss": loss.detach()}

    def predictor(self, nets: Nets) -> Network:
        """(x with `vocab` where a cell is hidden, cond) -> logits of every cell."""
        net = nets["net"]
        assert isinstance(net, Network)
        if net.space.vocab is None:
            raise UsageError(
                f"{self.kind} needs tokens, but this space has no vocabulary; choose a codec that gives ids"
            )
        return net

    def sampler(self) -> Rounds:
        """The surest first."""
        return Rounds()

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """A bound, estimated at `looks` rates spread evenly. All cells count."""
        x, found = batch.x, []
        start = noise.child("rates").uniform(0)
        with torch.no_grad():
            for look in range(self.looks):
                rate = (start + look) / self.looks
                mask = noise.uniform(1 + look, x.shape[1:]) < along(rate, x)
                nats = self._nats(nets, x, mask, batch.cond).double() * mask
                found.append(-(nats.flatten(1).sum(1) / rate))
        each = torch.stack(found)
        return LogProb(each.mean(0), exact=False, error=each.std(0) / math.sqrt(self.looks), bound=True)

    def _nats(self, nets: Nets, x: Tensor, mask: Tensor, cond: Cond) -> Tensor:
        """-log p of every cell [B, C, *dims], the masked ones hidden."""
        net = self.predictor(nets)
        assert net.space.vocab is not None
        logits = net(torch.where(mask, net.space.vocab, x), cond=cond)
        return F.cross_entropy(logits.flatten(0, -2), x.flatten(), reduction="none").view(x.shape)


def hidden(u: Tensor, rate: Tensor) -> Tensor:
    """The rate x cells of a sample with the least u, rounded up; at least one. u [B, C, *dims], rate [B] -> bool."""
    flat = u.flatten(1)
    number = (rate * flat.shape[1]).ceil().clamp(min=1).long()
    rank = flat.argsort(1).argsort(1)
    return (rank < number[:, None]).view(u.shape)
