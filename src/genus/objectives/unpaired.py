"""Preferences without pairs: answers that were judged good shall gain on a reference, those judged bad shall lose.

    z = max(0, mean of log p - log r over answers to other questions)
    good: wanted (1 - sigmoid(beta (log p - log r - z)));  bad: unwanted (1 - sigmoid(beta (z - log p + log r)))

KTO, Ethayarajh et al. 2024, arXiv 2402.01306. z is an estimate of how far p has gone from r on the whole, and has no
gradient: what all answers gain counts for nothing. All of it comes with the batch (`learned.verdicts`). Knows no
network and no codec.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Draws, LogProb, Metrics, Nets, Noise, Objective, Predictor
from genus.errors import UsageError
from genus.objectives.autoregression import Autoregression
from genus.samplers.tokens import Tokens

READ = Autoregression()


@final
class Unpaired(Objective):
    """Mean over answers. beta: how far p may go from r, the less the further. wanted, unwanted: weights of good and bad
    answers; where one kind is rarer, the paper weighs it up until both count for about as much.
    """

    kind: Literal["objectives.unpaired"] = "objectives.unpaired"
    family: ClassVar[str] = "autoregression"
    beta: float = Field(0.1, gt=0)
    wanted: float = Field(1.0, ge=0)
    unwanted: float = Field(1.0, ge=0)

    @property
    def whole(self) -> bool:
        """Yes: z is a mean over the batch."""
        return True

    def number(self, batch: Batch) -> int:
        """Answers."""
        return len(batch)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """None: nothing here is random."""
        return {}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Logs z, and what good and bad answers have gained in nats."""
        if batch.mask is None or not {"good", "other", "reference"} <= set(batch.extra):
            raise UsageError(
                f"{self.kind} learns from answers judged good or bad, beside a reference; give the phase such a "
                "source: learned.verdicts"
            )
        good = batch.extra["good"] > 0
        gained = said(nets, batch.x, batch.mask) - batch.extra["reference"]
        with torch.no_grad():
            other = said(nets, batch.extra["other"], batch.extra["other_said"])
            z = (other - batch.extra["other_reference"]).mean().clamp(min=0)
        far = self.beta * (gained - z)
        each = torch.where(good, self.wanted * (-far).sigmoid(), self.unwanted * far.sigmoid())
        loss = each.mean()

        def mean(kept: Tensor) -> Tensor:
            return (gained.detach() * kept).sum() / kept.sum().clamp(min=1)

        return loss, {"loss": loss.detach(), "apart": z, "good": mean(good), "bad": mean(~good)}

    def predictor(self, nets: Nets) -> Predictor:
        """That of autoregression."""
        return READ.predictor(nets)

    def sampler(self) -> Tokens:
        """That of autoregression."""
        return READ.sampler()

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Exact: it stays a model of text."""
        return READ.log_prob(nets, batch, noise)


def said(nets: Nets, x: Tensor, mask: Tensor) -> Tensor:
    """log p [B] of the cells of x [B, 1, T] that the mask counts."""
    return -READ.cells(nets, Batch(x, mask=mask)).flatten(1).sum(1)
