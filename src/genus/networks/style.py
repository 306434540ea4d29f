"""A generator with styles and a critic, for 1, 2 and 3 dimensions: the two networks of adversarial training.

Generator: z and the condition become a style (mapping); a learned constant grows through a pyramid of scales, the style
scaling the input channels of every convolution, whose outputs are then brought back to unit size (demodulation); each
scale adds to the picture (Karras et al. 2020, arXiv 1912.04958). No noise inputs: a sample is a function of (z, cond).
Critic: residual convolutions down the same pyramid, one number a sample; the condition enters as a projection (Miyato
and Koyama 2018, arXiv 1802.05637). No norms, a residual starts as nothing (Huang et al. 2025, arXiv 2501.05441). Made
of operators that can be differentiated twice, which gradient penalties need. Knows no loss.
"""

from __future__ import annotations

import math
from typing import Literal, Self, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genus.core import Cond, Network, NetworkConfig, Roads, Space, State
from genus.errors import UsageError
from genus.networks.convolutional import convolve, gather, spread, weight

COARSEST = 4  # cells a side, at most, where the pyramid ends
FINEST = 24  # cells a side, at most, where no patch is given
SLOPE = 0.2  # of the leaky rectifier for what is negative
SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


@final
class GeneratorConfig(NetworkConfig):
    """latent: numbers in z. style, depth: width and layers of the mapping.

    width: channels of the finest scale, doubled at each coarser one up to `widest`. patch: side of what one cell of the
    finest scale draws; None: the least that leaves 24 cells a side.
    """

    kind: Literal["networks.style.generator"] = "networks.style.generator"
    latent: int = Field(64, ge=1)
    style: int = Field(128, ge=1)
    depth: int = Field(2, ge=1)
    width: int = Field(16, ge=1)
    widest: int = Field(64, ge=1)
    patch: int | None = Field(None, ge=1)

    def build(self, space: Space, roads: Roads = Roads()) -> Generator:
        """See `NetworkConfig`. Raises `UsageError` for a space or roads that it does not serve."""
        return Generator(self, space, roads)

    def sized(self, dial: int) -> Self:
        """The finest scale 8 x dial wide, the widest in the same proportion as now."""
        return self.but(**widened(self.kind, dial, self.width, self.widest))


@final
class CriticConfig(NetworkConfig):
    """width, widest, patch: as the generator's. features: numbers that are weighed at the end.

    group: so many neighbours in a batch are shown how much they differ (minibatch standard deviation), 0: none; batch
    and micro-batch should be multiples of it, or the last ones of each make a smaller group.
    """

    kind: Literal["networks.style.critic"] = "networks.style.critic"
    width: int = Field(16, ge=1)
    widest: int = Field(64, ge=1)
    features: int = Field(128, ge=1)
    group: int = Field(0, ge=0)
    patch: int | None = Field(None, ge=1)

    def build(self, space: Space, roads: Roads = Roads()) -> Critic:
        """See `NetworkConfig`. Raises `UsageError` for a space or roads that it does not serve."""
        return Critic(self, space, roads)

    def sized(self, dial: int) -> Self:
        """The finest scale 8 x dial wide, the widest in the same proportion as now."""
        return self.but(**widened(self.kind, dial, self.width, self.widest))


def widened(kind: str, dial: int, width: int, widest: int) -> dict[str, int]:
    """The widths at a dial."""
    if dial < 1:
        raise UsageError(f"the size dial of {kind} starts at 1, not {dial}")
    return {"width": 8 * dial, "widest": max(1, round(8 * dial * widest / width))}


@final
class Pyramid:
    """cells and channels of each scale, fine to coarse; refuses what neither network serves."""

    def __init__(self, config: GeneratorConfig | CriticConfig, space: Space, roads: Roads) -> None:
        if space.vocab is not None:
            raise UsageError(f"{config.kind} is for continuous cells, not tokens; choose a codec without a vocabulary")
        if not 1 <= len(space.dims) <= 3:
            raise UsageError(f"{config.kind} serves 1 to 3 axes, this space has {len(space.dims)}")
        if roads.tokens is not None or roads.grid is not None:
            raise UsageError(f"{config.kind} is asked by one vector a sample, not by tokens or a grid")
        self.axes = len(space.dims)
        self.patch = config.patch or -(-max(space.dims) // FINEST)
        self.cells = [tuple(-(-d // self.patch) for d in space.dims)]
        while max(self.cells[-1]) > COARSEST:
            self.cells.append(tuple(-(-d // 2) for d in self.cells[-1]))
        self.widths = [min(config.width * 2**i, config.widest) for i in range(len(self.cells))]


def asked(cond: Cond, width: int | None) -> Tensor | None:
    """The condition's vector at unit size, if the network was built for one. Raises `UsageError` if these differ."""
    if (cond.vector is None) != (width is None):
        built, given = "a" if width is not None else "no", "none" if cond.vector is None else "one"
        raise UsageError(f"this network was built for {built} condition vector and was given {given}")
    return None if cond.vector is None else F.rms_norm(cond.vector, cond.vector.shape[-1:])


def wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def cut(x: Tensor, cells: tuple[int, ...]) -> Tensor:
    """X [B, *more, C] without what lies beyond `cells`."""
    for axis, size in enumerate(cells):
        x = x.narrow(1 + axis, 0, size)
    return x


def padded(x: Tensor, side: int) -> Tensor:
    """X [B, *dims, C] with zeros behind, until `side` divides each axis."""
    behind = [p for d in reversed(x.shape[1:-1]) for p in (0, -d % side)]
    return F.pad(x, [0, 0, *behind]) if any(behind) else x


def grown(x: Tensor, times: int) -> Tensor:
    """X [B, *dims, C] with so many times as many cells an axis, linear between them."""
    y = F.interpolate(x.movedim(-1, 1), scale_factor=float(times), mode=SMOOTH[x.dim() - 2], align_corners=False)
    return y.movedim(1, -1)


def bent(x: Tensor) -> Tensor:
    """The leaky rectifier; `restoring` weights make good what it takes."""
    return F.leaky_relu(x, SLOPE)


def restoring(*shape: int) -> nn.Parameter:
    """As `weight`, for what was bent: outputs as large as it was before."""
    return nn.Parameter(math.sqrt(2 / (1 + SLOPE**2)) * weight(*shape).detach())


@final
class Scale(nn.Module):
    """style [B, S] -> a factor for each channel, [B, 1 ..., C]; about one at the start."""

    def __init__(self, style: int, width: int, axes: int) -> None:
        super().__init__()
        self.weight, self.bias, self.ones = weight(width, style), nn.Parameter(torch.ones(width)), (1,) * axes

    def forward(self, w: Tensor) -> Tensor:
        """See the class."""
        return F.linear(w, self.weight, self.bias).view(w.shape[0], *self.ones, -1)


@final
class Modulated(nn.Module):
    """A convolution of channels that the style scales; outputs of unit size for inputs of unit size (demodulation)."""

    def __init__(self, style: int, before: int, after: int, axes: int) -> None:
        super().__init__()
        self.scale = Scale(style, before, axes)
        self.weight = weight(after, before, *(3,) * axes)
        self.bias = nn.Parameter(torch.zeros(after))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[B, *dims, C] -> [B, *dims, O]. Scaling cells before and after is scaling the weights, sample by sample."""
        scale = self.scale(w)
        power = wide(self.weight).square().flatten(2).sum(2)  # [O, C]
        size = F.linear(wide(scale).square(), power).add(1e-8).rsqrt().to(x.dtype)
        return bent(torch.addcmul(self.bias, convolve(x * scale, self.weight), size))


@final
class Exit(nn.Module):
    """What a scale adds to the picture: its channels, scaled by the style, as those of x; `weights`: how they start."""

    def __init__(self, style: int, weights: nn.Parameter, axes: int) -> None:
        super().__init__()
        self.scale = Scale(style, weights.shape[1], axes)
        self.weight, self.bias = weights, nn.Parameter(torch.zeros(weights.shape[0]))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[B, *dims, C] -> [B, *dims, O]."""
        return F.linear(x * self.scale(w), self.weight, self.bias)


@final
class Generator(Network):
    """(z [B, latent], cond) -> float32 [B, C, *dims]: `synthesis(mapping(z, cond))`. A sample knows no other."""

    def __init__(self, config: GeneratorConfig, space: Space, roads: Roads) -> None:
        super().__init__()
        at = Pyramid(config, space, roads)
        self.config, self.space, self.roads, self.latent = config, space, roads, config.latent
        self.cells, self.patch, deep = at.cells, at.patch, len(at.cells) - 1
        widths, style = at.widths, config.style
        self.enter = weight(style, config.latent)
        self.vector = None if roads.vector is None else weight(style, roads.vector)
        self.map = nn.ParameterList(restoring(style, style) for _ in range(config.depth))
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(style)) for _ in range(config.depth + 1))
        self.constant = nn.Parameter(torch.randn(*at.cells[deep], widths[deep]))
        # Fine to coarse, as all lists here; they are walked from the end.
        self.first = nn.ModuleList(
            Modulated(style, widths[min(i + 1, deep)], widths[i], at.axes) for i in range(len(widths))
        )
        self.second = nn.ModuleList(Modulated(style, width, width, at.axes) for width in widths)
        self.exits = nn.ModuleList(Exit(style, weight(space.channels, width), at.axes) for width in widths)
        # Cells of many pixels begin smooth: what tells their pixels apart starts at zero.
        pixels = at.patch**at.axes
        self.detail = (
            Exit(style, nn.Parameter(torch.zeros(space.channels * pixels, widths[0])), at.axes) if pixels > 1 else None
        )

    def mapping(self, z: Tensor, cond: Cond = Cond()) -> Tensor:
        """The style, [B, S]. z is not normalised: a sampler's temperature should reach it."""
        vector = asked(cond, self.roads.vector)
        w = F.linear(z.to(self.enter.dtype), self.enter, self.offsets[0])
        if vector is not None and self.vector is not None:
            w = w + F.linear(vector.to(w.dtype), self.vector)
        for matrix, offset in zip(self.map, self.offsets[1:], strict=True):
            w = F.linear(bent(w), matrix, offset)
        return w

    def synthesis(self, w: Tensor) -> Tensor:
        """Style [B, S] -> float32 [B, C, *dims]."""
        deep = len(self.cells) - 1
        h = self.constant.expand(w.shape[0], *self.constant.shape)
        y = torch.zeros((), dtype=h.dtype, device=h.device)  # what the coarser scales have drawn
        for i in reversed(range(deep + 1)):
            if i < deep:
                h, y = (cut(grown(v, 2), self.cells[i]) for v in (h, y))
            h = self.second[i](self.first[i](h, w), w)
            y = y + self.exits[i](h, w)
        if self.detail is not None:
            y = grown(y, self.patch) + spread(self.detail(h, w), self.patch)
        return cut(y, self.space.dims).movedim(-1, 1).float()

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """x: z. See the class."""
        return self.synthesis(self.mapping(x, cond))


@final
class Block(nn.Module):
    """x + two convolutions, each of a bent stream. The second starts at zero."""

    def __init__(self, width: int, axes: int) -> None:
        super().__init__()
        self.first = restoring(width, width, *(3,) * axes)
        self.second = nn.Parameter(torch.zeros_like(self.first))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, *dims, C] -> the same."""
        h = convolve(bent(x), self.first, self.biases[0])
        return x + convolve(bent(h), self.second, self.biases[1])


@final
class Critic(Network):
    """(x [B, C, *dims], cond) -> float32 [B]: high for what looks like data. Reads the size it was built for."""

    def __init__(self, config: CriticConfig, space: Space, roads: Roads) -> None:
        super().__init__()
        at = Pyramid(config, space, roads)
        self.config, self.space, self.roads, self.patch = config, space, roads, at.patch
        corner, end = 2**at.axes, math.prod(at.cells[-1]) * (at.widths[-1] + (config.group > 0))
        self.enter = weight(at.widths[0], space.channels * at.patch**at.axes, *(3,) * at.axes)
        self.bias = nn.Parameter(torch.zeros(at.widths[0]))
        self.blocks = nn.ModuleList(Block(width, at.axes) for width in at.widths)
        self.shrink = nn.ParameterList(
            weight(after, before * corner) for before, after in zip(at.widths, at.widths[1:], strict=False)
        )
        self.leave = restoring(config.features, end)
        self.offset = nn.Parameter(torch.zeros(config.features))
        self.score = restoring(1, config.features)
        self.vector = None if roads.vector is None else weight(config.features, roads.vector)

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See the class."""
        return self.regard(x, cond)[0]

    def regard(self, x: Tensor, cond: Cond = Cond()) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The score [B], and what each scale saw, fine to coarse, [B, *cells, width].

        The last product is taken in float32: losses compare scores.
        """
        vector = asked(cond, self.roads.vector)
        h = gather(padded(x.to(self.enter.dtype).movedim(1, -1), self.patch), self.patch)
        h = convolve(h, self.enter, self.bias)
        seen: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            h = block(h if i == 0 else F.linear(gather(padded(h, 2), 2), self.shrink[i - 1]))
            seen.append(h)
        if self.config.group:
            h = torch.cat([h, differences(h, self.config.group)], dim=-1)
        features = wide(bent(F.linear(bent(h).flatten(1), self.leave, self.offset)))
        weighed = wide(self.score)
        if vector is not None and self.vector is not None:
            weighed = weighed + wide(F.linear(vector.to(h.dtype), self.vector)) * features.shape[1] ** -0.5
        return (features * weighed).sum(1), tuple(seen)


def differences(x: Tensor, group: int) -> Tensor:
    """[B, *dims, 1]: how far each run of `group` samples spreads, one number (Karras et al. 2018, arXiv 1710.10196)."""
    runs = torch.split(x.float(), group)
    spreads = [(run.var(0, unbiased=False) + 1e-8).sqrt().mean().expand(len(run)) for run in runs]
    return torch.cat(spreads).to(x.dtype).view(-1, *(1,) * (x.dim() - 1)).expand(*x.shape[:-1], 1)
