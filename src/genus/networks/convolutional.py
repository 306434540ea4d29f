"""A U-Net for 1, 2 and 3 dimensions: sound, pictures, video and solids differ in the number of axes alone.

Residual convolutions on a pyramid of scales (Ronneberger et al. 2015, arXiv 1505.04597), attention on the coarsest,
time and condition as one modulation of every normalisation (FiLM: Perez et al. 2018, arXiv 1709.07871). Made for few,
large operators: pixels come in as patches, cells lie in memory with their channels together (what CPUs convolve
fastest), a sample is normalised by one number, its root mean square (Yu et al. 2022, arXiv 2111.11418, less the mean).
A condition's tokens are further keys of the attention (Nichol et al. 2022, arXiv 2112.10741). Knows no loss and no
fixed size. Reads no tokens as x: that is the transformer's.
"""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import Literal, Self, final

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from genus.core import Cond, Network, NetworkConfig, Roads, Space, State
from genus.errors import UsageError
from genus.networks.attention import attend

FINEST = 40  # cells a side, at most, where no patch is given
Mods = list[Tensor]  # [B, 1 ..., C] each: shift and scale of one normalisation after another
Told = tuple[Tensor, Tensor] | None  # a condition's tokens [B, L, D], and which of them are no padding [B, L]


class ConvolutionalConfig(NetworkConfig):
    """widths: channels of each scale, fine to coarse, where cells are x's own. down, up: residual blocks a scale on the
    way there and back.

    attention: layers on the coarsest scale, each after a block. head: channels of a head. patch: side of the patch that
    is one cell of the finest scale; None: the least that leaves 40 cells a side. Patches of 2 take the place of the
    finest scale and have the width of the next; the coarsest is repeated. kernel: side of the convolutions, odd.
    """

    kind: Literal["networks.convolutional"] = "networks.convolutional"
    widths: tuple[int, ...] = Field((32, 64, 128), min_length=1)
    down: tuple[int, ...] = (1, 1, 2)
    up: tuple[int, ...] = (1, 1, 0)
    attention: int = Field(1, ge=0)
    head: int = Field(32, ge=2)
    patch: int | None = Field(None, ge=1)
    kernel: int = Field(3, ge=1)
    timed: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not len(self.widths) == len(self.down) == len(self.up):
            raise ValueError("widths, down and up have one entry a scale each")
        if self.kernel % 2 == 0:
            raise ValueError("kernel must be odd")
        if min(self.widths) < 1 or min(*self.down, *self.up) < 0:
            raise ValueError("widths start at 1, down and up at 0")
        return self

    def at(self, patch: int) -> tuple[int, ...]:
        """Channels of each scale where a cell is a patch of this side."""
        skipped = min(patch.bit_length() - 1, len(self.widths) - 1)
        return self.widths[skipped:] + self.widths[-1:] * skipped

    def build(self, space: Space, roads: Roads = Roads()) -> Convolutional:
        """See `NetworkConfig`. Raises `UsageError` for a space or roads that convolutions do not serve."""
        return Convolutional(self, space, roads)

    def sized(self, dial: int) -> Self:
        """The finest scale 8 x dial wide, each coarser one in the same proportion as now."""
        if dial < 1:
            raise UsageError(f"the size dial of {self.kind} starts at 1, not {dial}")
        finest = self.widths[0]
        return self.but(widths=tuple(max(8, round(dial * w / finest) * 8) for w in self.widths))


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X [B, *dims, C] with weight [O, C, *kernel], zeros around: [B, *dims, O]. One axis runs as two: faster."""
    axes = x.dim() - 2
    if axes == 1:
        return convolve(x[:, None], weight[:, :, None], bias)[:, 0]
    pad = [k // 2 for k in weight.shape[2:]]
    y = (F.conv2d if axes == 2 else F.conv3d)(x.movedim(-1, 1), weight, bias, padding=pad)
    return y.movedim(1, -1).contiguous()  # one channel in says nothing of the layout that is wanted out


def gather(x: Tensor, side: int) -> Tensor:
    """X [B, *dims, C] -> [B, *dims / side, side^axes C]: neighbours become channels of one cell."""
    axes = x.dim() - 2
    split = [s for d in x.shape[1:-1] for s in (d // side, side)]
    order = [0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1]
    return x.reshape(x.shape[0], *split, x.shape[-1]).permute(order).flatten(1 + axes)


def spread(x: Tensor, side: int) -> Tensor:
    """The inverse of `gather`."""
    axes = x.dim() - 2
    dims = x.shape[1:-1]
    x = x.reshape(x.shape[0], *dims, *(side,) * axes, -1)
    order = [0, *(i for a in range(axes) for i in (1 + a, 1 + axes + a)), 2 * axes + 1]
    return x.permute(order).reshape(x.shape[0], *(d * side for d in dims), -1)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Each sample over its root mean square, times 1 + scale, plus shift: one pass over x."""
    norm = torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.float32)
    size = (math.sqrt(x[0].numel()) / (norm + 1e-3)).to(x.dtype)
    return torch.addcmul(shift, x, (1 + scale) * size.view(-1, *(1,) * (x.dim() - 1)))


def waves(t: Tensor) -> Tensor:
    """t [B] in [0, 1] as 64 sines and 64 cosines, from a quarter of a turn to 250 turns."""
    angle = t.float()[:, None] * (0.5 * math.pi * 1000 ** torch.linspace(0, 1, 64))
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def weight(*shape: int) -> nn.Parameter:
    """Normal, its outputs as large as its inputs."""
    return nn.Parameter(torch.randn(shape) / math.sqrt(math.prod(shape[1:])))


@final
class Block(nn.Module):
    """x + two convolutions, each of a modulated, gated stream. The second starts at zero."""

    def __init__(self, width: int, kernel: int, axes: int) -> None:
        super().__init__()
        self.first = weight(width, width, *(kernel,) * axes)
        self.second = nn.Parameter(torch.zeros_like(self.first))
        self.mods = (width,) * 4

    def forward(self, x: Tensor, mods: Mods, told: Told) -> Tensor:
        """[B, *dims, C] -> the same. Attention alone reads `told`."""
        h = convolve(F.silu(modulated(x, mods[0], mods[1])), self.first)
        return x + convolve(F.silu(modulated(h, mods[2], mods[3])), self.second)


@final
class Attention(nn.Module):
    """x + attention over all cells, and over a condition's tokens, which are `told` wide, where there are any.

    Convolutions with zeros around them tell where a cell lies: no positions.
    """

    def __init__(self, width: int, head: int, told: int | None) -> None:
        super().__init__()
        self.heads = max(1, width // head)
        self.qkv = weight(3 * width, width)
        self.out = nn.Parameter(torch.zeros(width, width))
        self.told = None if told is None else weight(2 * width, told)
        self.mods = (width,) * 2

    def forward(self, x: Tensor, mods: Mods, told: Told) -> Tensor:
        """[B, *dims, C] -> the same."""
        h = F.linear(modulated(x, mods[0], mods[1]), self.qkv)
        q, k, v = h.reshape(x.shape[0], -1, 3, self.heads, x.shape[-1] // self.heads).unbind(2)
        heard = None
        if told is not None and self.told is not None:
            tokens, heard = told
            said = F.linear(tokens, self.told).view(*tokens.shape[:2], 2, self.heads, -1)
            k, v = torch.cat([k, said[:, :, 0]], 1), torch.cat([v, said[:, :, 1]], 1)
            heard = torch.cat([heard.new_ones(q.shape[:2]), heard], 1)
        q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        return x + F.linear(attend(q, k, v, causal=False, heard=heard).reshape(x.shape), self.out)


@final
class Convolutional(Network):
    """See the module. Float [B, C, *dims] -> float32, the same; a size that does not divide is padded, then cut."""

    exact = ("leave", "bias")

    def __init__(self, config: ConvolutionalConfig, space: Space, roads: Roads) -> None:
        super().__init__()
        axes = len(space.dims)
        self.patch = config.patch or -(-max(space.dims, default=1) // FINEST)
        widths = config.at(self.patch)
        head = min(config.head, widths[-1])
        if space.vocab is not None:
            raise UsageError(f"{config.kind} reads continuous cells, not tokens; choose networks.transformer")
        if not 1 <= axes <= 3:
            raise UsageError(f"{config.kind} serves 1 to 3 axes, this space has {axes}; choose another network")
        if roads.tokens is not None and not config.attention:
            raise UsageError(f"{config.kind} reads a condition's tokens by attention and has none; set attention to 1")
        if config.attention and widths[-1] % head:
            raise UsageError(f"{config.kind}: head = {head} does not divide the width {widths[-1]}; choose a divisor")
        self.config, self.space, self.roads = config, space, roads
        cells, deep, embedding = self.patch**axes, len(widths) - 1, 256
        kernel = (config.kernel,) * axes
        self.enter = weight(widths[0], (space.channels + (roads.grid or 0)) * cells, *kernel)
        self.leave = nn.Parameter(torch.zeros(space.channels * cells, widths[0], *kernel))
        self.bias = nn.Parameter(torch.zeros(space.channels * cells))

        def blocks(i: int, number: int) -> list[Block | Attention]:
            return [Block(widths[i], config.kernel, axes) for _ in range(number)]

        centre = blocks(deep, config.down[deep] + config.up[deep])
        for i in range(config.attention):
            centre.insert(min(2 * i + 1, len(centre)), Attention(widths[deep], head, roads.tokens))
        order = [
            *(b for i in range(deep) for b in blocks(i, config.down[i])),
            *centre,
            *(b for i in reversed(range(deep)) for b in blocks(i, config.up[i])),
        ]
        self.numbers = [*config.down[:-1], len(centre), *reversed(config.up[:-1])]  # of blocks between changes of scale
        self.sizes = [size for block in order for size in block.mods] + [widths[0]] * 2  # of modulations
        self.bounds = list(accumulate([*(len(block.mods) for block in order), 2], initial=0))
        self.blocks = nn.ModuleList(order)
        self.shrink = nn.ModuleList(nn.Linear(widths[i] * 2**axes, widths[i + 1]) for i in range(deep))
        self.grow = nn.ModuleList(nn.Linear(widths[i + 1], widths[i] * 2**axes) for i in range(deep))
        self.clock = None
        if config.timed:
            self.clock = nn.Sequential(nn.Linear(128, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.vector = None if roads.vector is None else nn.Linear(roads.vector, embedding)
        self.modulate = nn.Linear(embedding, sum(self.sizes))
        for tensor in (self.modulate.weight, self.modulate.bias):
            nn.init.zeros_(tensor)

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See `Network`."""
        full = x.shape[2:]
        if (cond.grid is None) != (self.roads.grid is None):
            given = "none" if cond.grid is None else "one"
            raise UsageError(
                f"this network was built for {self.roads.grid or 'no'} grid channels and was given {given}"
            )
        x = x if cond.grid is None else torch.cat([x, cond.grid.to(x.dtype)], dim=1)
        side = self.patch * 2 ** len(self.shrink)
        x = F.pad(x.to(self.enter.dtype), [p for d in reversed(full) for p in (0, -d % side)])
        mods = self.moods(t, cond.vector, x)
        told = None
        if self.roads.tokens is not None:
            if cond.tokens is None:
                raise UsageError("this network was built for condition tokens and was given none")
            told = (F.rms_norm(cond.tokens.to(x.dtype), cond.tokens.shape[-1:]), cond.tokens.any(-1))
        h = convolve(gather(x.movedim(1, -1), self.patch), self.enter)
        passed: list[Tensor] = []
        at, deep = 0, len(self.shrink)
        for i, number in enumerate(self.numbers):
            if i > deep:
                h = spread(self.grow[2 * deep - i](h), 2) + passed.pop()
            for block, said in zip(self.blocks[at : at + number], mods[at : at + number], strict=True):
                h = block(h, said, told)
            at += number
            if i < deep:
                passed.append(h)
                h = self.shrink[i](gather(h, 2))
        h = convolve(F.silu(modulated(h, *mods[-1])).to(self.leave.dtype), self.leave) + self.bias
        y = spread(h, self.patch).movedim(-1, 1).float()
        for axis, size in enumerate(full):
            y = y.narrow(2 + axis, 0, size)
        return y

    def moods(self, t: Tensor | None, vector: Tensor | None, x: Tensor) -> list[Mods]:
        """What time and vector say to each block, in order, and to the exit."""
        said = torch.zeros(x.shape[0], self.modulate.in_features, dtype=x.dtype)
        if self.clock is not None:
            if t is None:
                raise UsageError("this network is timed and was given no t")
            said = said + self.clock(waves(t).to(x.dtype))
        if self.vector is not None:
            if vector is None:
                raise UsageError("this network was built for a condition vector and was given none")
            said = said + self.vector(vector.to(x.dtype))
        parts = self.modulate(F.silu(said)).split(self.sizes, dim=1)
        views = [part.view(part.shape[0], *(1,) * (x.dim() - 2), -1) for part in parts]
        return [views[i:j] for i, j in pairwise(self.bounds)]
