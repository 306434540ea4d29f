"""The truncation trick: styles drawn towards their mean, likelier and less varied samples.

w' = mean + psi (w - mean)          Karras et al. 2019, arXiv 1812.04948

The mean is that of each sample's own condition (Dobler et al. 2022, arXiv 2202.11777), over a fixed set of latents: it
is a function of the weights, so nothing has to be remembered while training. Knows no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, final, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor

from genus.core import Cond, Noise, Predictor, State, Wrap
from genus.errors import UsageError
from genus.samplers.oneshot import FromLatent

LATENTS = 256  # that the mean is taken over


@runtime_checkable
class Styled(FromLatent, Protocol):
    """A predictor in two halves: (z [B, *latent], cond) -> style [B, S] -> x."""

    def mapping(self, z: Tensor, cond: Cond) -> Tensor: ...

    def synthesis(self, w: Tensor) -> Tensor: ...


@final
class Truncation(Wrap):
    """psi: what is kept of the distance from the mean style; 1: all of it."""

    knob: ClassVar[tuple[str, str] | None] = ("truncation", "psi")

    kind: Literal["samplers.truncation"] = "samplers.truncation"
    psi: float = Field(1.0, ge=0, le=2)

    def __call__(
        self,
        predict: Predictor,
        null: Callable[[int], Cond] | None,
        fields: Mapping[str, Sequence[Any]] | None = None,
    ) -> Predictor:
        """The truncated predictor; `predict` itself at psi 1. Raises `UsageError` where there are no styles."""
        if self.psi == 1:
            return predict
        if not isinstance(predict, Styled):
            raise UsageError(
                f"truncation = {self.psi:g} draws styles towards their mean, but this model has none; leave it out"
            )
        return Truncated(self.psi, predict)


@final
@dataclass(frozen=True)
class Truncated:
    """(z, cond) -> x, from styles nearer to the mean."""

    psi: float
    predict: Styled

    @property
    def latent(self) -> tuple[int, ...]:
        """The shape of one z."""
        return self.predict.latent

    def __call__(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """As `predict`."""
        mean = self.mean(cond, x.device)
        return self.predict.synthesis(mean + self.psi * (self.predict.mapping(x, cond) - mean))

    def mean(self, cond: Cond, device: torch.device) -> Tensor:
        """The mean style of each condition, [B, S]; [1, S] where nothing is conditioned."""
        z = Noise(0, tuple(range(LATENTS))).child("mean style").normal(0, self.latent).to(device)
        if cond.vector is None:
            return self.predict.mapping(z, cond).mean(0, keepdim=True)
        batch = cond.vector.shape[0]
        each = cond.map(lambda v: v.repeat_interleave(LATENTS, 0))
        w = self.predict.mapping(z.repeat(batch, *(1,) * len(self.latent)), each)
        return w.view(batch, LATENTS, -1).mean(1)

    def start(self, batch: int, cells: int) -> State | None:
        """None: it is one pass."""
        return self.predict.start(batch, cells)
