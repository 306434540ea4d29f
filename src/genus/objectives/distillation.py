"""A smaller model learns what a larger one would say, not only what the data says.

    loss = (1 - share) (-log q(x)) + share T^2 KL(p_T || q_T)        p: the teacher, q: the student

Hinton et al. 2015, arXiv 1503.02531. T is the temperature of both softmaxes; T^2 keeps the gradient's size. What the
teacher says comes with the batch (`learned.taught`); where it does not, as in held-out loss, the data's part is all
there is, so progress is told by what counts in the end. Knows no network and no codec.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Draws, LogProb, Metrics, Nets, Network, Noise, Objective, Predictor, next_logits
from genus.errors import UsageError
from genus.objectives.autoregression import Autoregression
from genus.samplers.tokens import Tokens

READ = Autoregression()


@final
class Distillation(Objective):
    """Mean over the cells that count. share: of the teacher in the loss. temperature: of its softmax and of ours."""

    kind: Literal["objectives.distillation"] = "objectives.distillation"
    family: ClassVar[str] = "autoregression"
    share: float = Field(0.7, ge=0, le=1)
    temperature: float = Field(1.5, gt=0)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """None: nothing here is random."""
        return {}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Logs both parts: `data`, in nats, and `teacher`, the divergence without T^2."""
        if "teacher" not in batch.extra:
            return READ.loss(nets, batch, draws, turn)
        net = nets["net"]
        assert isinstance(net, Network)
        logits = next_logits(net, batch).flatten(0, -2).float()
        taught = batch.extra["teacher"].flatten(0, -2).float()
        if taught.shape != logits.shape:
            raise UsageError(
                f"the teacher knows {taught.shape[-1]} ids and the student {logits.shape[-1]}; give the student the "
                "codec of its teacher: learned.same"
            )
        said = F.cross_entropy(logits, batch.x.flatten(), reduction="none")
        q = (logits / self.temperature).log_softmax(-1)
        p = (taught / self.temperature).log_softmax(-1)
        apart = F.kl_div(q, p, reduction="none", log_target=True).sum(-1)
        counts = torch.ones_like(said) if batch.mask is None else batch.mask.flatten().to(said.dtype)
        number = counts.sum().clamp(min=1)
        data, teacher = (said * counts).sum() / number, (apart * counts).sum() / number
        loss = (1 - self.share) * data + self.share * self.temperature**2 * teacher
        return loss, {"loss": loss.detach(), "data": data.detach(), "teacher": teacher.detach()}

    def predictor(self, nets: Nets) -> Predictor:
        """That of autoregression."""
        return READ.predictor(nets)

    def sampler(self) -> Tokens:
        """That of autoregression."""
        return READ.sampler()

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Exact: it is a model of text."""
        return READ.log_prob(nets, batch, noise)
