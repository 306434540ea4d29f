"""What lies between an encoder and a decoder: Gaussian, vector-quantised, or rounded to a grid of few levels.

Each takes what the encoder says, h [B, *dims, said], to what the decoder reads, z [B, *dims, channels], with a cost a
sample; and to a code that a later model can learn: [B, channels, *dims] floats, or [B, 1, *dims] ids. Knows no loss.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from genus.core import Noise, Space
from genus.parts import Part


class Bottleneck(nn.Module, ABC):
    """said: channels of h. channels: of z."""

    said: int
    channels: int

    @abstractmethod
    def forward(self, h: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """(z, cost [B]). e: standard normal, of z's shape."""

    @abstractmethod
    def code(self, h: Tensor) -> Tensor:
        """The code of h, without randomness."""

    @abstractmethod
    def read(self, code: Tensor) -> Tensor:
        """z of a code."""

    @abstractmethod
    def space(self, dims: tuple[int, ...]) -> Space:
        """Of the codes."""

    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor] | None:
        """(mean, log variance) of z, where z is Gaussian."""
        return None

    def settle(self, noise: Noise) -> None:
        """After a training step: what no gradient moves."""


class BottleneckConfig(Part, ABC):
    """What a recipe says of a bottleneck."""

    @abstractmethod
    def build(self) -> Bottleneck:
        """The module."""


@final
class Normal(Bottleneck):
    """A Gaussian posterior; the cost is its divergence from the standard normal, in nats."""

    def __init__(self, config: NormalConfig) -> None:
        super().__init__()
        self.channels, self.said, self.free = config.channels, 2 * config.channels, config.free

    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The log variance is kept within -20 .. 10."""
        mean, logs = h.float().chunk(2, dim=-1)
        return mean, logs.clamp(-20, 10)

    def forward(self, h: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bottleneck`."""
        mean, logs = self.posterior(h)
        nats = 0.5 * (mean.square() + logs.exp() - 1 - logs)
        return mean + (0.5 * logs).exp() * e, nats.clamp(min=self.free).flatten(1).sum(1)

    def code(self, h: Tensor) -> Tensor:
        """The mean."""
        return self.posterior(h)[0].movedim(-1, 1)

    def read(self, code: Tensor) -> Tensor:
        """As it is."""
        return code.movedim(1, -1)

    def space(self, dims: tuple[int, ...]) -> Space:
        """Continuous."""
        return Space(dims, self.channels)


@final
class NormalConfig(BottleneckConfig):
    """channels: of a latent cell. free: nats of each latent that cost nothing more (Kingma et al. 2016, 1606.04934)."""

    kind: Literal["networks.bottlenecks.normal"] = "networks.bottlenecks.normal"
    channels: int = Field(4, ge=1)
    free: float = Field(0.0, ge=0)

    def build(self) -> Normal:
        """The module; it has no weights."""
        return Normal(self)


@final
class Quantised(Bottleneck):
    """The nearest of `vocab` vectors, which follow the averages of what falls to them; unused ones start anew.

    van den Oord et al. 2017 (arXiv 1711.00937, appendix A.1); restarts as in Dhariwal et al. 2020 (arXiv 2005.00341).
    """

    codes: Tensor
    weight: Tensor
    total: Tensor
    found: Tensor
    summed: Tensor
    pool: Tensor

    def __init__(self, config: QuantisedConfig) -> None:
        super().__init__()
        self.config, self.channels, self.said = config, config.channels, config.channels
        shape = (config.vocab, config.channels)
        self.register_buffer("codes", torch.randn(shape) / math.sqrt(config.channels))
        self.register_buffer("weight", torch.zeros(config.vocab))  # average number of cells a step
        self.register_buffer("total", torch.zeros(shape))  # average sum of them
        for name, empty in (("found", torch.zeros(config.vocab)), ("summed", torch.zeros(shape))):
            self.register_buffer(name, empty, persistent=False)  # of this step, over its micro-batches
        self.register_buffer("pool", torch.zeros(shape), persistent=False)  # cells of this step to start anew from

    def nearest(self, h: Tensor) -> Tensor:
        """Ids [B, *dims]."""
        flat = h.float().flatten(0, -2)
        far = self.codes.square().sum(1) - 2 * flat @ self.codes.T
        return far.argmin(1).view(h.shape[:-1])

    def forward(self, h: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bottleneck`; gradients pass as if nothing had been rounded. The cost draws h to its code."""
        h = h.float()
        ids = self.nearest(h.detach())
        if self.training:
            flat, which = h.detach().flatten(0, -2), ids.flatten()
            self.found.index_add_(0, which, torch.ones_like(which, dtype=self.found.dtype))
            self.summed.index_add_(0, which, flat)
            at = torch.arange(len(self.pool), device=flat.device) * len(flat) // len(self.pool)
            self.pool.copy_(flat[at])
        z = self.codes[ids]
        cost = self.config.commitment * (h - z).square().flatten(1).sum(1)
        return h + (z - h).detach(), cost

    def settle(self, noise: Noise) -> None:
        """The codes follow; one that fewer than `least` cells a step fall to is set on a cell of this step."""
        decay = self.config.decay
        self.weight.lerp_(self.found, 1 - decay)
        self.total.lerp_(self.summed, 1 - decay)
        self.codes.copy_(self.total / self.weight.clamp(min=1e-6)[:, None])
        dead = self.weight < self.config.least
        order = noise.of([0]).child("restart").uniform(0, (len(dead),))[0].argsort()
        anew = self.pool[order.to(dead.device)]
        self.codes.copy_(torch.where(dead[:, None], anew, self.codes))
        self.weight.copy_(torch.where(dead, 1.0, self.weight))
        self.total.copy_(torch.where(dead[:, None], anew, self.total))
        self.found.zero_()
        self.summed.zero_()

    def code(self, h: Tensor) -> Tensor:
        """Ids [B, 1, *dims]."""
        return self.nearest(h)[:, None]

    def read(self, code: Tensor) -> Tensor:
        """The vectors of ids."""
        return self.codes[code[:, 0].long()]

    def space(self, dims: tuple[int, ...]) -> Space:
        """One stream of ids."""
        return Space(dims, 1, len(self.codes))


@final
class QuantisedConfig(BottleneckConfig):
    """vocab: number of vectors. channels: of each. decay: of their averages. commitment: weight of h's distance.

    least: cells a step, on average, below which a vector starts anew.
    """

    kind: Literal["networks.bottlenecks.quantised"] = "networks.bottlenecks.quantised"
    vocab: int = Field(512, ge=2)
    channels: int = Field(16, ge=1)
    decay: float = Field(0.99, gt=0, lt=1)
    commitment: float = Field(0.25, ge=0)
    least: float = Field(0.01, ge=0)

    def build(self) -> Quantised:
        """The module, its vectors random until the first step sets them on cells."""
        return Quantised(self)


@final
class Rounded(Bottleneck):
    """Finite scalar quantisation: each channel is bounded and rounded to its number of levels; nothing to collapse.

    Mentzer et al. 2023, arXiv 2309.15505.
    """

    middle: Tensor
    offset: Tensor
    basis: Tensor
    size: Tensor

    def __init__(self, config: RoundedConfig) -> None:
        super().__init__()
        levels = torch.tensor(config.levels)
        self.channels = self.said = len(config.levels)
        self.vocab = math.prod(config.levels)
        tables = {
            "middle": (levels - 1) * (1 + 1e-3) / 2,
            "offset": torch.where(levels % 2 == 0, 0.5, 0.0),
            "basis": torch.cat([torch.ones(1, dtype=torch.long), levels.cumprod(0)[:-1]]),
            "size": levels,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def rounded(self, h: Tensor) -> Tensor:
        """Whole numbers, from -(size // 2) on."""
        bounded = (h.float() + (self.offset / self.middle).atanh()).tanh() * self.middle - self.offset
        return bounded + (bounded.round() - bounded).detach()

    def forward(self, h: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """See `Bottleneck`; it costs nothing."""
        return self.rounded(h) / (self.size // 2), h.new_zeros(len(h), dtype=torch.float32)

    def code(self, h: Tensor) -> Tensor:
        """Ids [B, 1, *dims]."""
        return ((self.rounded(h).round().long() + self.size // 2) * self.basis).sum(-1)[:, None]

    def read(self, code: Tensor) -> Tensor:
        """Values in [-1, 1]."""
        digits = code[:, 0, ..., None].long() // self.basis % self.size
        return (digits - self.size // 2) / (self.size // 2).float()

    def space(self, dims: tuple[int, ...]) -> Space:
        """One stream of ids."""
        return Space(dims, 1, self.vocab)


@final
class RoundedConfig(BottleneckConfig):
    """levels: of each channel, at least 2; their product is the vocabulary."""

    kind: Literal["networks.bottlenecks.rounded"] = "networks.bottlenecks.rounded"
    levels: tuple[Annotated[int, Field(ge=2)], ...] = Field((8, 8, 8), min_length=1)

    def build(self) -> Rounded:
        """The module; it has no weights."""
        return Rounded(self)
