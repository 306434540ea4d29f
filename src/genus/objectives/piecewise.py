"""A path of a few straight pieces: from where each begins, one look says where a teacher's many steps would end.

    p* = (x_r - (r/t) x_t) / (1 - r/t)        x_r: the teacher's end of the piece that begins at x_t

is the clean x that leads an Euler step there, so the student is read as any denoiser is. Salimans and Ho 2022 (arXiv
2202.00512) halve the steps again and again; here all go at once, in pieces that begin at noised data (Yan et al. 2024,
arXiv 2405.07510). Where the pieces begin and end comes with the batch (`learned.pieces`). Knows no network.
"""

from __future__ import annotations

from typing import ClassVar, Literal, final

from pydantic import Field
from torch import Tensor

from genus.core import Batch, Draws, LogProb, Metrics, Nets, Noise, Objective
from genus.errors import NoLikelihood, UsageError
from genus.objectives.denoising import Clean, Output, denoised
from genus.samplers.ode import Ode


@final
class Piecewise(Objective):
    """Mean squared error of p* per cell, over t^2: that of the velocity, and so of the end of pieces of one length.

    output, scale: what the network says (`objectives.denoising`), as in the phase that it starts from.
    """

    kind: Literal["objectives.piecewise"] = "objectives.piecewise"
    family: ClassVar[str] = "flow"
    output: Output = "x"
    scale: float = Field(0.5, gt=0)

    def draws(self, nets: Nets, batch: Batch, turn: str, noise: Noise) -> Draws:
        """None: times and noise are the batch's own."""
        return {}

    def loss(self, nets: Nets, batch: Batch, draws: Draws, turn: str) -> tuple[Tensor, Metrics]:
        """Logs the same, and the error of p* alone. Raises `UsageError` where the batch has no pieces."""
        if "target" not in batch.extra:
            raise UsageError(f"{self.kind} learns from a teacher's pieces of paths; take the source learned.pieces")
        t = batch.extra["t"]
        return denoised(self.predictor(nets), batch, t, batch.extra["e"], t**-2, batch.extra["target"])

    def predictor(self, nets: Nets) -> Clean:
        """(x_t, t, cond) -> the clean x that leads to the end of its piece."""
        return Clean(nets, self.output, self.scale)

    def sampler(self) -> Ode:
        """A step a piece."""
        return Ode(steps=4, method="euler")

    def log_prob(self, nets: Nets, batch: Batch, noise: Noise) -> LogProb:
        """Raises `NoLikelihood`."""
        raise NoLikelihood("this model knows a few points of each path alone; score the phase that taught it")
