"""Which known value an x has, seen through noise: the classifier that classifier guidance follows.

    -log p(y | x_t),    x_t = (1 - t) x + t e,    t even in (0, 1)         Dhariwal and Nichol 2021, arXiv 2105.05233

The logit of a value is the product of what the network says of x_t with the conditioner's vector of that value. Samples
of which nothing is said take no part. Nothing can be drawn from it, and no density of x is learned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch.nn.functional as F
from torch import Tensor

from genus.core import Batch, Choices, Cond, Draws, LogProb, Metrics, Nets, Noise, Objective, State, along
from genus.errors import NoLikelihood, UsageError
from genus.objectives.denoising import evenly
from genus.samplers.undrawn import Undrawn


@final
@dataclass(frozen=True)
class Classes:
    """The predictor: (x_t [B, C, *dims], t [B]) -> log p of each known value, [B, K] float32."""

    nets: Nets

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See the class."""
        every = self.choices.every().vector
        assert every is not None, "values that can be told apart have vectors"
        said: Tensor = self.nets["net"](x, t).float()
        return (said @ every.float().mT).log_softmax(-1)

    @property
    def choices(self) -> Choices:
        """The conditioner. Raises `UsageError` where it knows no values."""
        found: object = dict(self.nets.items()).get("conditioner")
        if not isinstance(found, Choices):
            raise UsageError(
                "a classifier tells known values apart; give its phase such a conditioner: conditions.label"
            )
        return found

    def chosen(self, fields: Mapping[str, Sequence[Any]]) -> Tensor:
        """[B] long: the value that is asked of each sample, -1 for none."""
        return self.choices.chosen(fields)

    def start(self, batch: int, cells: int) -> State | None:
        """None: all of x is read at once."""
        return None


@final
class Classification(Objective):
    """No knobs."""

    kind: Literal["objectives.classification"] = "objectives.classification"
    family: ClassVar[str] = "classification"

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """t [B], e [B, C, *dims], and y [B], which is not random, but raw fields are known only here."""
        t, e = evenly(noise.child("times")).float(), noise.normal(0, batch.x.shape[1:])
        return {"t": t, "e": e, "y": self.predictor(nets).chosen(batch.fields)}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Mean over samples, in nats; logs it, and the share of samples whose value is found."""
        x, s, y = batch.x.float(), along(draws["t"], batch.x), draws["y"]
        logits = self.predictor(nets)((1 - s) * x + s * draws["e"], draws["t"])
        there = (y >= 0).to(logits.dtype)
        share = there if batch.weight is None else there * batch.weight
        number = there.sum().clamp(min=1)
        loss = (F.nll_loss(logits, y.clamp(min=0), reduction="none") * share).sum() / number
        found = ((logits.detach().argmax(1) == y) * there).sum() / number
        return loss, {"loss": loss.detach(), "found": found}

    def predictor(self, nets: Nets) -> Classes:
        """(x_t, t) -> log p of each known value."""
        return Classes(nets)

    def sampler(self) -> Undrawn:
        """There is none to draw with."""
        return Undrawn(
            reason="this model tells labels apart and draws nothing; let it guide one that does (recipe "
            "classifier-guidance), or choose a recipe that generates (see: genus recipes)"
        )

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Raises `NoLikelihood`."""
        raise NoLikelihood(f"{self.kind} learns which label an x has, not how likely an x is")
