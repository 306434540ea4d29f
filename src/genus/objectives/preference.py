"""Preferences without a reward model: the better of two answers shall gain on the worse, measured from a reference.

    d = (log p(better) - log r(better)) - (log p(worse) - log r(worse))

    DPO     -log sigmoid(beta d)                                     Rafailov et al. 2023, arXiv 2305.18290
    SimPO   the same without r, per cell, and less a margin          Meng et al. 2024, arXiv 2405.14734
    IPO     (d - 1 / (2 beta))^2, which ends                         Azar et al. 2023, arXiv 2310.12036

r is the frozen model that training began from; its log-probabilities come with the batch. `smoothing` is the share of
pairs that are held to be the wrong way round (conservative DPO). All of these are content if both answers become
unlikely, the worse one more so; `imitation` adds the better answer's own loss, a mean over its cells (Pang et al. 2024,
arXiv 2404.19733), which is not. Knows no network and no codec.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Draws, LogProb, Metrics, Nets, Noise, Objective, Predictor
from genus.errors import UsageError
from genus.objectives.autoregression import Autoregression
from genus.samplers.tokens import Tokens

READ = Autoregression()


def halves(nets: Nets, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """log p [B, 2] of better and worse, how many cells of either count [B, 2], and the reference's log p or zeros."""
    if "rejected" not in batch.extra:
        raise UsageError("preferences need pairs of answers; give the phase such a source: learned.preferences")
    said = torch.cat([batch.extra["said"], batch.extra["rejected_said"]])
    nats = READ.cells(nets, Batch(torch.cat([batch.x, batch.extra["rejected"]]), mask=said)).flatten(1)
    log_p, cells = -nats.sum(1), said.flatten(1).sum(1).clamp(min=1).to(nats.dtype)
    n = len(batch)
    p, c = torch.stack([log_p[:n], log_p[n:]], 1), torch.stack([cells[:n], cells[n:]], 1)
    return p, c, batch.extra.get("reference", torch.zeros_like(p))


@final
class Preference(Objective):
    """Mean over pairs. beta: how far p may go from r, the less the further. anchored: there is a reference.

    normalised: log-probabilities are means over the cells of an answer, so length does not pay. margin: of beta d.
    """

    kind: Literal["objectives.preference"] = "objectives.preference"
    family: ClassVar[str] = "autoregression"
    beta: float = Field(0.1, gt=0)
    shape: Literal["logistic", "squared"] = "logistic"
    anchored: bool = True
    normalised: bool = False
    margin: float = Field(0.0, ge=0)
    smoothing: float = Field(0.0, ge=0, lt=0.5)
    imitation: float = Field(0.0, ge=0)

    def number(self, batch: Batch) -> int:
        """Pairs."""
        return len(batch)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """None: nothing here is random."""
        return {}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Logs the share of pairs whose better answer has gained more, and by how much in nats."""
        log_p, cells, reference = halves(nets, batch)
        if self.anchored and "reference" not in batch.extra:
            raise UsageError(
                f"{self.kind} measures from a reference: name its phase with source.phase, or set objective.anchored "
                "to false"
            )
        gained = log_p - reference if self.anchored else log_p
        gained = gained / cells if self.normalised else gained
        d = gained[:, 0] - gained[:, 1]
        if self.shape == "squared":
            each = (d - 1 / (2 * self.beta)).square()
        else:
            h = self.beta * d - self.margin
            each = -(1 - self.smoothing) * F.logsigmoid(h) - self.smoothing * F.logsigmoid(-h)
        if self.imitation:
            each = each - self.imitation * log_p[:, 0] / cells[:, 0]
        weighted = each if batch.weight is None else each * batch.weight
        loss = weighted.mean()
        told = {"preferred": (d > 0).float().mean(), "margin": d.mean(), "better": gained[:, 0].mean()}
        return loss, {"loss": loss.detach(), **{name: value.detach() for name, value in told.items()}}

    def predictor(self, nets: Nets) -> Predictor:
        """That of autoregression."""
        return READ.predictor(nets)

    def sampler(self) -> Tokens:
        """That of autoregression."""
        return READ.sampler()

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Exact: it stays a model of text."""
        return READ.log_prob(nets, batch, noise)
