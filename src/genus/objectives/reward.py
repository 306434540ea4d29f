"""What an answer is worth, learned from which of two was preferred: -log sigmoid(r(better) - r(worse)).

Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155. The reward is read where the answer ends, where all of it
has been read: it is the network's logit of the end mark there, so a language model is the start and no head is new.
Rewards have no zero of their own; `centre` keeps the mean of a pair near one. Nothing is drawn from such a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Cond, Draws, LogProb, Metrics, Nets, Network, Noise, Objective, State, behind
from genus.errors import NoLikelihood, UsageError
from genus.samplers.undrawn import Undrawn


@final
@dataclass(frozen=True)
class Rewards:
    """The predictor: logits as the network gives them; `worth` reads what an answer is worth."""

    net: Network

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See `Network`."""
        y: Tensor = self.net(x, t, cond, state)
        return y

    def start(self, batch: int, cells: int) -> State | None:
        """The network's."""
        return self.net.start(batch, cells)

    def worth(self, x: Tensor, said: Tensor) -> Tensor:
        """The reward [B] of x [B, 1, T] whose answer is where `said` is true, the mark that ends it included."""
        space = self.net.space
        if space.vocab is None:
            raise UsageError("rewards are read from tokens, but this space has no vocabulary; choose a codec of text")
        last = said.shape[-1] - 1 - said[:, 0].flip(-1).long().argmax(-1)
        logits: Tensor = self.net(behind(x, space.vocab))
        return logits[torch.arange(len(x)), 0, last, space.stops[0]].float()


@final
class Reward(Objective):
    """Mean over pairs. centre: weight of the square of a pair's sum (Eisenstein et al. 2023, arXiv 2312.09244)."""

    kind: Literal["objectives.reward"] = "objectives.reward"
    family: ClassVar[str] = "classification"
    centre: float = Field(0.01, ge=0)

    def number(self, batch: Batch) -> int:
        """Pairs."""
        return len(batch)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """None: nothing here is random."""
        return {}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Logs the loss without `centre`, and the share of pairs that are the right way round."""
        if "rejected" not in batch.extra:
            raise UsageError("preferences need pairs of answers; give the phase such a source: learned.preferences")
        x = torch.cat([batch.x, batch.extra["rejected"]])
        better, worse = (
            self.predictor(nets).worth(x, torch.cat([batch.extra["said"], batch.extra["rejected_said"]])).chunk(2)
        )
        each = -F.logsigmoid(better - worse)
        loss = each.mean()
        told = {"loss": loss.detach(), "preferred": (better > worse).float().mean()}
        return loss + self.centre * (better + worse).square().mean(), told

    def predictor(self, nets: Nets) -> Rewards:
        """Logits, and what an answer is worth."""
        net = nets["net"]
        assert isinstance(net, Network)
        return Rewards(net)

    def sampler(self) -> Undrawn:
        """There is none to draw with."""
        return Undrawn(
            reason="this model says what an answer is worth and draws nothing; train one against it, or choose a "
            "recipe that generates (see: genus recipes)"
        )

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Raises `NoLikelihood`."""
        raise NoLikelihood(f"{self.kind} learns what an answer is worth, not how likely it is")
