"""A convolutional autoencoder for 1, 2 and 3 dimensions: a pyramid down, a bottleneck, the same pyramid up.

The codes lie on a coarse grid of cells, or (`whole`) are one vector a sample. Blocks and scales are those of
`networks.convolutional`. Knows no loss. Kingma and Welling 2013 (arXiv 1312.6114); as a first stage for a model of the
codes: Esser et al. 2020 (arXiv 2012.09841), Rombach et al. 2021 (arXiv 2112.10752).
"""

from __future__ import annotations

import math
from typing import Literal, Self, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genus.core import Cond, Network, NetworkConfig, Noise, Roads, Space, State
from genus.errors import UsageError
from genus.networks.bottlenecks import BottleneckConfig, NormalConfig
from genus.networks.convolutional import convolve, gather, modulated, spread, weight
from genus.parts import Any_


@final
class Block(nn.Module):
    """x + two convolutions, each of a normalised, gated stream. The second starts at zero."""

    def __init__(self, width: int, kernel: int, axes: int) -> None:
        super().__init__()
        self.first = weight(width, width, *(kernel,) * axes)
        self.second = nn.Parameter(torch.zeros_like(self.first))
        self.shifts, self.scales = nn.Parameter(torch.zeros(2, width)), nn.Parameter(torch.zeros(2, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, *dims, C] -> the same."""
        h = convolve(F.silu(modulated(x, self.shifts[0], self.scales[0])), self.first)
        return x + convolve(F.silu(modulated(h, self.shifts[1], self.scales[1])), self.second)


@final
class Autoencoder(Network):
    """x -> x through the bottleneck. latent: shape of z, [channels, *dims]; codes: the space of `code`."""

    exact = ("leave", "bias")

    def __init__(self, config: AutoencoderConfig, space: Space) -> None:
        super().__init__()
        axes, widths = len(space.dims), config.widths
        if space.vocab is not None:
            raise UsageError(f"{config.kind} reads continuous cells, not tokens; choose a codec of continuous x")
        if not 1 <= axes <= 3:
            raise UsageError(f"{config.kind} serves 1 to 3 axes, this space has {axes}; choose another codec")
        self.config, self.space, deep = config, space, len(widths) - 1
        self.side = config.patch * 2**deep
        self.grid = tuple(-(-d // self.side) for d in space.dims)
        self.bottleneck = config.bottleneck.build()
        cells, kernel = config.patch**axes, (config.kernel,) * axes
        self.enter = weight(widths[0], space.channels * cells, *kernel)
        self.leave = nn.Parameter(torch.zeros(space.channels * cells, widths[0], *kernel))
        self.bias = nn.Parameter(torch.zeros(space.channels * cells))

        def blocks(width: int) -> nn.Sequential:
            return nn.Sequential(*(Block(width, config.kernel, axes) for _ in range(config.blocks)))

        self.down = nn.ModuleList(blocks(w) for w in widths)
        self.up = nn.ModuleList(blocks(w) for w in widths)
        self.shrink = nn.ModuleList(nn.Linear(widths[i] * 2**axes, widths[i + 1]) for i in range(deep))
        self.grow = nn.ModuleList(nn.Linear(widths[i + 1], widths[i] * 2**axes) for i in range(deep))
        inner = widths[-1] * (math.prod(self.grid) if config.whole else 1)
        self.say = nn.Linear(inner, self.bottleneck.said)
        self.hear = nn.Linear(self.bottleneck.channels, inner)
        dims = () if config.whole else self.grid
        self.latent, self.codes = (self.bottleneck.channels, *dims), self.bottleneck.space(dims)
        #: Log of the spread of what the decoder says, one a channel: a likelihood needs one, and it is learned.
        self.spread = nn.Parameter(torch.full((space.channels,), -2.0))

    def encode(self, x: Tensor) -> Tensor:
        """X [B, C, *dims] -> what the bottleneck takes, [B, *dims', said]."""
        h = F.pad(x.to(self.enter.dtype), [p for d in reversed(self.space.dims) for p in (0, -d % self.side)])
        h = convolve(gather(h.movedim(1, -1), self.config.patch), self.enter)
        for i, blocks in enumerate(self.down):
            h = blocks(h)
            h = self.shrink[i](gather(h, 2)) if i < len(self.shrink) else h
        said: Tensor = self.say(h.flatten(1) if self.config.whole else h)
        return said

    def decode(self, z: Tensor) -> Tensor:
        """Z [B, *dims', channels] -> x [B, C, *dims], float32."""
        h = self.hear(z.to(self.enter.dtype))
        h = h.view(len(z), *self.grid, -1) if self.config.whole else h
        for i in reversed(range(len(self.up))):
            h = self.up[i](h)
            h = spread(self.grow[i - 1](h), 2) if i else h
        h = convolve(F.silu(h).to(self.leave.dtype), self.leave) + self.bias
        y = spread(h, self.config.patch).movedim(-1, 1).float()
        for axis, size in enumerate(self.space.dims):
            y = y.narrow(2 + axis, 0, size)
        return y

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """What the decoder makes of x's code."""
        return self.decode(self.bottleneck.read(self.bottleneck.code(self.encode(x))))

    def settle(self, noise: Noise) -> None:
        """See `Bottleneck.settle`."""
        self.bottleneck.settle(noise)


@final
class AutoencoderConfig(NetworkConfig):
    """widths: channels of each scale, fine to coarse; each halves every axis. blocks: residual ones a scale, each way.

    whole: the code is one vector for the whole sample. patch: side of the patch that is a cell of the finest scale.
    """

    kind: Literal["networks.autoencoder"] = "networks.autoencoder"
    widths: tuple[int, ...] = Field((32, 64, 128), min_length=1)
    blocks: int = Field(1, ge=1)
    kernel: int = Field(3, ge=1, multiple_of=1)
    patch: int = Field(1, ge=1)
    whole: bool = False
    bottleneck: Any_[BottleneckConfig] = NormalConfig()

    def build(self, space: Space, roads: Roads = Roads()) -> Autoencoder:
        """See `NetworkConfig`. Codes are of x alone: a condition is what the model of the codes takes."""
        return Autoencoder(self, space)

    def sized(self, dial: int) -> Self:
        """The finest scale 16 x dial wide, each coarser one in the same proportion as now."""
        if dial < 1:
            raise UsageError(f"the size dial of {self.kind} starts at 1, not {dial}")
        finest = self.widths[0]
        return self.but(widths=tuple(max(16, round(16 * dial * w / finest / 16) * 16) for w in self.widths))
