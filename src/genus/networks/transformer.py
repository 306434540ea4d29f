"""The one transformer: language, image tokens, DiT, video and audio differ in its configuration alone.

Pre-norm blocks (RMSNorm without weights, QK-norm, rotary positions on as many axes as the space has, grouped queries),
a squared-ReLU or SwiGLU feed-forward, and for each road of a condition one entrance: vector and time modulate every
block (adaLN-single, Chen et al. 2023, arXiv 2310.00426), tokens are attended to in one of three ways (`blocks`), a grid
joins the input channels. Every block starts as the identity: its output projections are zero. Knows no loss and no
fixed size: x has any dims.
"""

from __future__ import annotations

import math
from typing import Literal, Self, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genus.core import Cond, Network, NetworkConfig, Roads, Space, State, halved
from genus.errors import UsageError
from genus.networks import selfattention
from genus.networks.attention import Memory, begun, normal, places, rotary, walls
from genus.networks.blocks import Block, Mods, Told, modulated
from genus.networks.neighbours import Neighbours, looked_up


class TransformerConfig(NetworkConfig):
    """Sizes in cells, heads or multiples of the width.

    head: channels of a head, even. heads: None: width / head. kv_heads: None: as many as heads. ffn: hidden width of
    the feed-forward as a multiple of the width. patch: side of a patch on every axis (continuous spaces). timed: takes
    t. tied: the embedding is the output matrix too (token spaces). told: how a condition's tokens are heard: x asks
    them apart (cross), they stand before x under the same weights (prefix) or under their own (joint). near: a cell is
    told the ids of those before it that are so many places away at most, on every axis (causal, token spaces); 0: none.
    least: blocks of even the smallest size of the dial.
    """

    kind: Literal["networks.transformer"] = "networks.transformer"
    depth: int = Field(6, ge=1)
    width: int = Field(384, ge=8)
    head: int = Field(64, ge=2, multiple_of=2)
    heads: int | None = Field(None, ge=1)
    kv_heads: int | None = Field(None, ge=1)
    ffn: float = Field(4.0, gt=0)
    gate: Literal["relu2", "swiglu"] = "relu2"
    causal: bool = True
    patch: int = Field(1, ge=1)
    timed: bool = False
    tied: bool = True
    told: Literal["cross", "prefix", "joint"] = "cross"
    near: int = Field(0, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    least: int = Field(2, ge=1)

    def build(self, space: Space, roads: Roads = Roads()) -> Transformer:
        """See `NetworkConfig`. Raises `UsageError` for sizes that do not fit together."""
        return Transformer(self, space, roads)

    def sized(self, dial: int) -> Self:
        """Width 32 x dial, depth dial / 2 (at least `least`), about 6 x 1,024 x dial^3 weights in its blocks.

        Dial 2: 0.1 M, 4: 0.4 M, 6: 1.3 M, 8: 3.1 M, 10: 6.1 M, 12: 10.6 M, 16: 25 M, 20: 49 M, 25: 100 M. Wide rather
        than deep: on CPUs larger operators run nearer to the peak.
        """
        if dial < 1:
            raise UsageError(f"the size dial of {self.kind} starts at 1, not {dial}")
        width = 32 * dial
        head = self.head if width % self.head == 0 else 32
        kv_heads = self.kv_heads if self.kv_heads and (width // head) % self.kv_heads == 0 else None
        return self.but(width=width, depth=max(self.least, (dial + 1) // 2), head=head, heads=None, kv_heads=kv_heads)


NEAR = 32  # channels in which a neighbour is told


@final
class Transformer(Network):
    """See the module. Token ids in: up to `vocab`, the begin mark; logits out: of `vocab` ids, float32."""

    exact = ("leave",)

    def __init__(self, config: TransformerConfig, space: Space, roads: Roads) -> None:
        super().__init__()
        heads = config.heads or max(1, config.width // config.head)
        kv_heads = config.kv_heads or heads
        if heads % kv_heads:
            raise UsageError(f"{config.kind}: kv_heads = {kv_heads} does not divide heads = {heads}; choose a divisor")
        if space.vocab is not None and config.patch != 1:
            raise UsageError(f"{config.kind}: patch = {config.patch}, but tokens are not cut into patches; set it to 1")
        if config.near and (space.vocab is None or not config.causal):
            raise UsageError(
                f"{config.kind}: near = {config.near}, but only a causal network of tokens can look at the cells "
                "before one; set it to 0"
            )
        self.config, self.space, self.roads, self.kv_heads = config, space, roads, kv_heads
        width, cells = config.width, config.patch ** len(space.dims)
        if space.vocab is not None:
            self.embed = looked_up(space, width, 0.02 if config.tied else 1.0)
            self.near = Neighbours(space, config.near, width, NEAR) if config.near else None
            self.grid = None if roads.grid is None else nn.Linear(roads.grid, width, bias=False)
            outputs = 0 if config.tied else space.channels * space.vocab
        else:
            self.enter = nn.Linear((space.channels + (roads.grid or 0)) * cells, width)
            outputs = space.channels * cells
        self.leave = nn.Linear(width, outputs, bias=space.vocab is None) if outputs else None
        if self.leave is not None:
            nn.init.zeros_(self.leave.weight)
            if self.leave.bias is not None:
                nn.init.zeros_(self.leave.bias)
        self.clock = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width)) if config.timed else None
        self.vector = None if roads.vector is None else nn.Linear(roads.vector, width)
        self.tokens = None if roads.tokens is None else nn.Linear(roads.tokens, width, bias=False)
        self.modulate = self.shades = self.told_modulate = self.told_shades = None
        told = None if roads.tokens is None else config.told
        if config.timed or roads.vector is not None:
            self.modulate = nn.Linear(width, 6 * width)
            self.shades = nn.Parameter(
                torch.zeros(config.depth + 1, 6 * width)
            )  # one row a block, the last for the exit
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)
            if told == "joint":
                self.told_modulate = nn.Linear(width, 6 * width)
                self.told_shades = nn.Parameter(torch.zeros(config.depth, 6 * width))
                nn.init.zeros_(self.told_modulate.weight)
                nn.init.zeros_(self.told_modulate.bias)
        sizes = (width, config.head, heads, kv_heads, config.ffn, config.gate, config.causal, config.dropout)
        self.blocks = nn.ModuleList(Block(*sizes, told, layer == config.depth - 1) for layer in range(config.depth))

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See `Network`. With a state, x is [B, C, n]: the next n cells in raster order of `space.dims`."""
        return self.said(x, t, cond, state if isinstance(state, Memory) else None, None)

    def several(self, x: Tensor, starts: Tensor, cond: Cond = Cond()) -> Tensor:
        """See `Several`; looking both ways, it keeps a text from its padding so. Raises `UsageError` for settings that
        look across texts.
        """
        c = self.config
        if len(self.space.dims) != 1 or c.patch != 1 or c.near or (self.tokens is not None and c.told != "cross"):
            raise UsageError(
                f"{c.kind} reads several texts apart on one axis, without patches, neighbours (near) or a condition in "
                "the same sequence; change these settings, or the source's `alone`"
            )
        return self.said(x, None, cond, None, starts)

    def said(self, x: Tensor, t: Tensor | None, cond: Cond, memory: Memory | None, starts: Tensor | None) -> Tensor:
        """What `forward` and `several` give."""
        cells = 0 if memory is None else memory.cells
        dims = tuple(x.shape[2:])
        h = self.read(x, cond.grid, cells, memory)  # [B, N, width]
        if self.space.vocab is None:
            dims = tuple(-(-d // self.config.patch) for d in dims)
        where = places(dims) if memory is None else places(self.space.dims, cells, h.shape[1])
        parted = since = None
        if starts is not None:
            since = begun(starts)
            where = (where[:, 0] - since)[..., None]
            if not (self.config.causal and selfattention.serves(h.dtype, h.device, self.config.head)):
                parted, since = walls(starts, self.config.causal, h.dtype), None
        table = rotary(where, self.config.head, h.dtype)
        mood = self.mood(t, cond.vector, h.dtype)
        mods = shaded(self.modulate, self.shades, mood, self.config.depth + 1)
        told = self.hear(cond.tokens, mood, mods, memory, h.dtype)
        for layer, block in enumerate(self.blocks):
            h, told = block(h, table, mods[layer], told, memory, layer, parted, since)
        if memory is not None:
            memory.moved(h.shape[1])
            if memory.wanted is not None:
                h, dims = h[:, -memory.wanted :], (min(memory.wanted, h.shape[1]),)
        return self.write(modulated(h, mods[-1], 0), dims, tuple(x.shape[2:]))

    def hear(
        self, tokens: Tensor | None, mood: Tensor | None, mods: list[Mods], memory: Memory | None, dtype: torch.dtype
    ) -> Told | None:
        """The tokens for the blocks; None where there are none, or where the memory holds what became of them."""
        if self.tokens is None:
            return None
        if tokens is None:
            raise UsageError("this transformer was built for condition tokens and was given none")
        way, length = self.config.told, tokens.shape[1]
        if way != "cross" and memory is not None:
            if any(memory.fed):
                return None
            memory.tell(tokens.any(-1))
        where = places((length,))
        if way != "cross":  # before x on every axis, counted from it: padding behind them moves none
            where = -1 - where.expand(-1, len(self.space.dims))
        if way == "joint":
            mods = shaded(self.told_modulate, self.told_shades, mood, self.config.depth)
        x = normal(self.tokens(tokens.to(dtype)))
        return Told(x, tokens.any(-1), rotary(where, self.config.head, dtype), mods)

    def packed(self, bits: int) -> Network:
        """See `Network`. Of 8: the blocks multiply bytes, inputs rounded row by row; the rest is in bfloat16."""
        if bits == 16:
            return halved(self)
        if bits != 8:
            raise UsageError(f"transformers have no weights of {bits} bits; choose the precision int8, bf16 or fp32")
        made = halved(self)
        for part in made.modules():
            if isinstance(part, Block):
                part.rounded()
        return made

    def start(self, batch: int, cells: int) -> State | None:
        """Room for `cells` cells along the first axis; None where cells are not read one after another."""
        if not self.config.causal or self.space.vocab is None:
            return None
        total = cells * math.prod(self.space.dims[1:])
        dtype = self.embed.weight.dtype
        return Memory(batch, total, self.config.depth, self.kv_heads, self.config.head, dtype)

    def read(self, x: Tensor, grid: Tensor | None, seen: int | Tensor, memory: Memory | None) -> Tensor:
        """Cells to vectors [B, N, width]: ids of all streams looked up and summed, or patches projected."""
        if (grid is None) != (self.roads.grid is None):
            said = "none" if grid is None else "one"
            raise UsageError(
                f"this transformer was built for {self.roads.grid or 'no'} grid channels and was given {said}"
            )
        if self.space.vocab is not None:
            stream = torch.arange(self.space.channels) * (self.space.vocab + 1)
            h: Tensor = self.embed(x.flatten(2) + stream[:, None]).sum(1)
            h = normal(h)
            if self.near is not None:
                ids = x.flatten(2) if memory is None else memory.read(x.flatten(2))
                dims = tuple(x.shape[2:]) if memory is None else self.space.dims
                if isinstance(seen, int):
                    h = h + self.near(ids, dims, seen)
                else:
                    rows = [(ids[i : i + 1, :, : n + h.shape[1]], n) for i, n in enumerate(seen.tolist())]
                    h = h + torch.cat([self.near(row, dims, n) for row, n in rows])
            if grid is not None and self.grid is not None:
                g = grid.flatten(2).transpose(1, 2).to(h.dtype)
                if memory is not None:
                    at = torch.as_tensor(seen).view(-1, 1) + torch.arange(h.shape[1])
                    g = g.gather(1, at.clamp(max=g.shape[1] - 1)[..., None].expand(len(g), -1, g.shape[2]))
                h = h + self.grid(g)
            return h
        x = x if grid is None else torch.cat([x, grid.to(x.dtype)], dim=1)
        vectors: Tensor = self.enter(cut(x.to(self.enter.weight.dtype), self.config.patch))
        return vectors

    def write(self, h: Tensor, dims: tuple[int, ...], full: tuple[int, ...]) -> Tensor:
        """Vectors [B, N, width] to logits [B, C, *dims, vocab] or to cells [B, C, *full], in float32."""
        if self.space.vocab is None:
            assert self.leave is not None
            return joined(self.leave(h.to(self.leave.weight.dtype)).float(), self.config.patch, dims, full)
        c, vocab = self.space.channels, self.space.vocab
        if self.leave is not None:
            y: Tensor = self.leave(h.to(self.leave.weight.dtype))
        else:
            y = F.linear(h, self.embed.weight.view(c, vocab + 1, -1)[:, :vocab].reshape(c * vocab, -1))
        return y.float().view(len(y), -1, c, vocab).transpose(1, 2).reshape(len(y), c, *dims, vocab)

    def mood(self, t: Tensor | None, vector: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """Time and vector as one [B, width]; None for a network without either."""
        if self.modulate is None:
            return None
        c = torch.zeros(())
        if self.clock is not None:
            if t is None:
                raise UsageError("this transformer is timed and was given no t")
            c = c + self.clock(clocked(t).to(dtype))
        if self.vector is not None:
            if vector is None:
                raise UsageError("this transformer was built for a condition vector and was given none")
            c = c + self.vector(vector.to(dtype))
        return F.silu(c).to(dtype)


def shaded(modulate: nn.Linear | None, shades: Tensor | None, mood: Tensor | None, rows: int) -> list[Mods]:
    """Six modulations [B, 1, width] for each of so many layers; None for each where there is no mood."""
    if modulate is None or shades is None or mood is None:
        return [None] * rows
    m = modulate(mood)
    return [tuple((m + row)[:, None].chunk(6, dim=-1)) for row in shades]


def clocked(t: Tensor) -> Tensor:
    """t [B] in [0, 1] as 256 waves, from one turn to a thousand."""
    speed = 2 * math.pi * 1000 ** torch.linspace(0, 1, 128)
    angle = t.float()[:, None] * speed
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def cut(x: Tensor, patch: int) -> Tensor:
    """[B, C, *dims] to patches [B, N, C * patch^axes], zeros added where a patch hangs over the edge."""
    axes = x.dim() - 2
    if patch > 1:
        x = F.pad(x, [p for d in reversed(x.shape[2:]) for p in (0, -d % patch)])
    split = [s for d in x.shape[2:] for s in (d // patch, patch)]
    x = x.reshape(*x.shape[:2], *split)
    order = [0, *range(2, 2 + 2 * axes, 2), 1, *range(3, 3 + 2 * axes, 2)]
    return x.permute(order).flatten(1 + axes).flatten(1, axes)


def joined(y: Tensor, patch: int, dims: tuple[int, ...], full: tuple[int, ...]) -> Tensor:
    """The inverse of `cut`: [B, N, C * patch^axes] to [B, C, *full]; `dims` counts patches."""
    axes = len(dims)
    y = y.reshape(y.shape[0], *dims, -1, *(patch,) * axes)
    order = [0, 1 + axes, *(i for a in range(axes) for i in (1 + a, 2 + axes + a))]
    y = y.permute(order).reshape(y.shape[0], -1, *(d * patch for d in dims))
    for axis, size in enumerate(full):
        y = y.narrow(2 + axis, 0, size)
    return y
