"""A whole x as one vector: patches, any network over them, the mean of what it says. For encoders and judges.

The vector is as wide as the condition's, so that the two can be compared; what is conditioned on does not enter. The
network inside adds to the projected patches, so at the start the vector is a linear view of x. Knows no loss.
"""

from __future__ import annotations

from typing import Literal, Self, final

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genus.core import Cond, Network, NetworkConfig, Roads, Space, State
from genus.errors import UsageError
from genus.networks.transformer import cut
from genus.parts import Any_

MOST = 8  # patches a side, at most, where no size of them is given


@final
class Pooled(Network):
    """x float [B, C, *dims] -> [B, D], D the width of the condition's vector, which itself is not read."""

    def __init__(self, config: PooledConfig, space: Space, roads: Roads) -> None:
        super().__init__()
        if space.vocab is not None:
            raise UsageError(f"{config.kind} reads continuous cells, not tokens; choose a codec of such")
        if roads.vector is None:
            raise UsageError(
                f"{config.kind} gives a vector to be compared with the condition's, and there is none: the training "
                "data has fewer than two captions or labels; collect them, or choose another recipe"
            )
        self.space, self.patch = space, config.patch or -(-max(space.dims) // MOST)
        dims = tuple(-(-d // self.patch) for d in space.dims)
        self.enter = nn.Linear(space.channels * self.patch ** len(dims), config.width)
        self.inside = config.inside.build(Space(dims, config.width), Roads())
        self.leave = nn.Linear(config.width, roads.vector)

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See the class."""
        dims = tuple(-(-d // self.patch) for d in x.shape[2:])
        h = self.enter(cut(x.to(self.enter.weight.dtype), self.patch))  # [B, N, width]
        said = self.inside(h.mT.reshape(len(h), -1, *dims), t).flatten(2).mT.to(h.dtype)
        vector: Tensor = self.leave(F.rms_norm(h + said, h.shape[-1:]).mean(1))
        return vector


@final
class PooledConfig(NetworkConfig):
    """inside: a network, timed if x is seen at times, over patches of `patch` cells a side as vectors of `width`.

    patch: None: the least that leaves 8 patches a side.
    """

    kind: Literal["networks.pooled"] = "networks.pooled"
    inside: Any_[NetworkConfig]
    patch: int | None = Field(None, ge=1)
    width: int = Field(192, ge=8)

    def build(self, space: Space, roads: Roads = Roads()) -> Pooled:
        """See `NetworkConfig`. Raises `UsageError` for tokens, and where no condition gives a vector."""
        return Pooled(self, space, roads)

    def sized(self, dial: int) -> Self:
        """The network inside at this size, patches 32 x dial wide."""
        return self.but(inside=self.inside.sized(dial), width=32 * dial)
