"""Two numbers: x -> scale x + shift. The temperature and the bias of logits, where a recipe has them learned."""

from __future__ import annotations

import math
from typing import Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor, nn

from genus.core import Cond, Network, NetworkConfig, Roads, Space, State


@final
class Affine(Network):
    """Any shape -> the same, float32. The scale is learned as its logarithm."""

    def __init__(self, config: AffineConfig, space: Space) -> None:
        super().__init__()
        self.space, self.most = space, math.log(config.most)
        self.scale = nn.Parameter(torch.full((1,), math.log(config.scale)))
        self.shift = nn.Parameter(torch.full((1,), config.shift))

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See the class."""
        return x.float() * self.scale.float().clamp(max=self.most).exp() + self.shift.float()


@final
class AffineConfig(NetworkConfig):
    """scale, shift: at the start. most: the scale never exceeds it."""

    kind: Literal["networks.affine"] = "networks.affine"
    scale: float = Field(1.0, gt=0)
    shift: float = 0.0
    most: float = Field(100.0, gt=0)

    def build(self, space: Space, roads: Roads = Roads()) -> Affine:
        """See `NetworkConfig`."""
        return Affine(self, space)

    def sized(self, dial: int) -> Self:
        """Itself: two numbers."""
        return self
