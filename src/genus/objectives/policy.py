"""A policy that earns more: answers which were worth more than expected become likelier, in clipped steps.

    -min(w A, clip(w, 1 - low, 1 + high) A) + kl (r / p - log(r / p) - 1),    w = p / p(when it was drawn)

cell by cell, A the advantage of the answer. Schulman et al. 2017 (arXiv 1707.06347) for the clip; Shao et al. 2024
(GRPO, arXiv 2402.03300) for advantages within a group and this estimate of the divergence from a frozen reference r;
Yu et al. 2025 (DAPO, arXiv 2503.14476) for two widths and the mean over cells. With `over` = "answers" the sum over an
answer counts, and without kl this is REINFORCE (RLOO: Ahmadian et al. 2024, arXiv 2402.14740). What is drawn and what
it is worth come with the batch (`learned.attempts`). Knows no reward.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

from pydantic import Field
from torch import Tensor

from genus.core import Batch, Draws, LogProb, Metrics, Nets, Noise, Objective, Predictor, Turn
from genus.errors import UsageError
from genus.objectives.autoregression import Autoregression
from genus.samplers.tokens import Tokens

READ = Autoregression()


@final
class Policy(Objective):
    """low, high: how far a cell's probability may move; high None: as low. kl: weight of the divergence.

    over: means over the cells of each answer and then over answers, over all cells alike, or sums of an answer's cells
    and then means over answers. updates: steps on the same answers.
    """

    kind: Literal["objectives.policy"] = "objectives.policy"
    family: ClassVar[str] = "autoregression"
    judged: ClassVar[str | None] = None
    low: float = Field(0.2, gt=0)
    high: float | None = Field(None, gt=0)
    kl: float = Field(0.0, ge=0)
    over: Literal["each", "cells", "answers"] = "each"
    updates: int = Field(1, ge=1)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """One an update: they share an optimiser, and the answers of a step."""
        return tuple(Turn("main" if i == 0 else f"again{i}") for i in range(self.updates))

    def number(self, batch: Batch) -> int:
        """Answers, or cells."""
        return batch.cells if self.over == "cells" else len(batch)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """None: what is random was drawn with the answers."""
        return {}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Logs the mean reward, how far from the reference a cell (`apart`) and an answer (`far`) is in nats, and the
        share of cells whose step was clipped.
        """
        if batch.weight is None or batch.mask is None or "old" not in batch.extra:
            raise UsageError(f"{self.kind} learns from judged answers; give the phase such a source: learned.attempts")
        if self.kl and "reference" not in batch.extra:
            raise UsageError(f"{self.kind}: kl = {self.kl:g} needs a reference; name its phase with source.phase")
        log_p, counts = -READ.cells(nets, batch), batch.mask.to(batch.weight.dtype)
        moved = (log_p - batch.extra["old"] * counts).exp()
        advantage = batch.weight.view(-1, *(1,) * (log_p.dim() - 1))
        within = moved.clamp(1 - self.low, 1 + (self.low if self.high is None else self.high))
        gained = (moved * advantage).minimum(within * advantage)
        clipped = moved.detach() * advantage > gained.detach()
        told = {"clipped": (clipped * counts).sum() / counts.sum().clamp(min=1)}
        each = -gained
        if "reference" in batch.extra:
            far = batch.extra["reference"] * counts - log_p
            apart = far.exp() - far - 1
            each = each + self.kl * apart
            told["apart"] = (apart.detach() * counts).sum() / counts.sum().clamp(min=1)
        told |= {name: batch.extra[name].mean() for name in ("reward", "far") if name in batch.extra}
        told["cells"] = counts.sum() / len(batch)
        sums = (each * counts).flatten(1).sum(1)
        if self.over == "each":
            loss = (sums / counts.flatten(1).sum(1).clamp(min=1)).mean()
        else:
            loss = sums.mean() if self.over == "answers" else sums.sum() / counts.sum().clamp(min=1)
        return loss, {"loss": loss.detach(), **told}

    def predictor(self, nets: Nets) -> Predictor:
        """That of autoregression."""
        return READ.predictor(nets)

    def sampler(self) -> Tokens:
        """That of autoregression."""
        return READ.sampler()

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Exact: it stays a model of text."""
        return READ.log_prob(nets, batch, noise)
