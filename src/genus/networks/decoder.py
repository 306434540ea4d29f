"""The published decoder-only language network: GPT-2, Llama, Mistral, Qwen and their kin are settings of this one.

Radford et al. 2019; Touvron et al. 2023 (arXiv 2302.13971); Jiang et al. 2023 (arXiv 2310.06825); Yang et al. 2024
(arXiv 2412.15115), 2025 (arXiv 2505.09388). What `networks.transformer` decides by itself stands here in the
configuration, so that weights trained elsewhere mean the same: norms with weights, biases, an explicit hidden size.

The begin mark. Published vocabularies have no id for it. The network reads it as the id `begin`, the one behind which
these weights saw texts start (None: the end mark, as it parts texts in a stream). Models that are used without such a
token (`apart`) read it alone: it says the first cell, and what follows does not see it. So the logits behind n ids are
those that other libraries give for these n ids.
Knows no loss, no tokenizer and no file format.
"""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Annotated, Literal, Self, final

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from genus.core import Cond, Network, NetworkConfig, Roads, Space, State, halved
from genus.errors import UsageError
from genus.networks.attention import Memory, Table, begun, places, walls, waves
from genus.networks.forms import Forms
from genus.networks.layer import Layer, linear, normed, weight
from genus.networks.lora import Adapted
from genus.networks.packed import COLUMNS, PRICES, PackedLayers, PackedLinear, halves, kernel, packed
from genus.networks.scores import scored
from genus.networks.stretches import Evenly, Stretch, Yarn
from genus.parts import Part


class Mixture(Part):
    """Experts in place of each feed-forward: so many, `chosen` a cell, each of `hidden` channels; see `experts`.

    balance, z, capacity: of training alone.
    """

    kind: Literal["networks.decoder.mixture"] = "networks.decoder.mixture"
    number: int = Field(ge=1)
    chosen: int = Field(ge=1)
    hidden: int = Field(ge=1)
    even: bool = True
    shared: int = Field(0, ge=0)
    balance: float = Field(0.0, ge=0)
    z: float = Field(0.0, ge=0)
    capacity: float | None = Field(None, ge=1)


class DecoderConfig(NetworkConfig):
    """Sizes in channels, heads and cells.

    hidden: of the feed-forward. norm: RMSNorm or LayerNorm (which has biases), with this eps. places: rotary, turning
    the pairs (i, i + head / 2) by waves from 2 pi to 2 pi x theta; or a learned vector for each of `context` cells.
    gate: SwiGLU, or GELU by its tanh formula. biases: of queries, keys and values (qkv), of attention's output (out),
    of the feed-forward. qk_norm: RMSNorm of queries and keys, of each head or of all heads together. tied: the
    embedding is the output matrix too. begin, apart: see the module. bits: of the weights of layers, where they were
    compressed (`deploy.compression`; tables of ids then have 8); None: float32. Weights of few bits are not trained.
    """

    kind: Literal["networks.decoder"] = "networks.decoder"
    depth: int = Field(6, ge=1)
    width: int = Field(384, ge=2)
    head: int = Field(64, ge=2, multiple_of=2)
    heads: int = Field(6, ge=1)
    kv_heads: int = Field(6, ge=1)
    hidden: int = Field(1024, ge=1)
    mixture: Mixture | None = None
    norm: Literal["rms", "layer"] = "rms"
    eps: float = Field(1e-5, gt=0)
    places: Literal["rotary", "learned"] = "rotary"
    theta: float = Field(10_000.0, gt=0)
    stretch: Annotated[Stretch | Evenly | Yarn, Field(discriminator="kind")] | None = None
    context: int = Field(2048, ge=1)
    gate: Literal["swiglu", "gelu"] = "swiglu"
    biases: tuple[Literal["qkv", "out", "ffn"], ...] = ()
    qk_norm: Literal["none", "head", "all"] = "none"
    tied: bool = True
    begin: int | None = Field(None, ge=0)
    apart: bool = False
    bits: Literal[4, 8] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads = {self.kv_heads} does not divide heads = {self.heads}; choose a divisor")
        if self.mixture is not None and self.mixture.chosen > self.mixture.number:
            raise ValueError(f"chosen = {self.mixture.chosen} of {self.mixture.number} experts; choose fewer")
        return self

    def build(self, space: Space, roads: Roads = Roads()) -> Decoder:
        """See `NetworkConfig`. Raises `UsageError` for a space or a condition that it cannot take."""
        return Decoder(self, space, roads)

    def sized(self, dial: int) -> Self:
        """Width 32 x dial, depth dial / 2 (at least 2), hidden 8 / 3 of the width: about 6 x 1,024 x dial^3 weights.

        Experts keep their share of the hidden width.
        """
        if dial < 1:
            raise UsageError(f"the size dial of {self.kind} starts at 1, not {dial}")
        width = 32 * dial
        head = self.head if width % self.head == 0 else 32
        heads = width // head
        shared = self.heads // self.kv_heads
        kv_heads = heads // shared if heads % shared == 0 else heads
        hidden = math.ceil(width * 8 / 3 / 16) * 16
        mixture = self.mixture
        if mixture is not None:
            each, all_ = (math.ceil(n * hidden / self.hidden / 16) * 16 for n in (mixture.hidden, mixture.shared))
            mixture = mixture.but(hidden=each, shared=all_)
        sizes = {"width": width, "depth": max(2, (dial + 1) // 2), "head": head, "heads": heads, "kv_heads": kv_heads}
        return self.but(**sizes, hidden=hidden, mixture=mixture)


@final
class Decoder(Network):
    """See the module. Ids [B, 1, n] in, the first one the begin mark; logits [B, 1, n, vocab] out, float32."""

    def __init__(self, config: DecoderConfig, space: Space, roads: Roads = Roads()) -> None:
        super().__init__()
        if space.vocab is None or len(space.dims) != 1 or space.channels != 1:
            raise UsageError(f"{config.kind} reads one sequence of tokens, not {space}; choose another network")
        if roads != Roads():
            raise UsageError(f"{config.kind} takes no condition beside its prompt; leave the conditioner out")
        begin = space.stops[0] if config.begin is None else config.begin
        if begin >= space.vocab:
            raise UsageError(f"{config.kind}: begin = {begin}, but the vocabulary has {space.vocab} ids")
        self.config, self.space, self.begin = config, space, begin
        width, self.vocab = config.width, space.vocab
        self.embed: nn.Embedding | PackedLinear
        if config.bits is not None and width % COLUMNS == 0:
            self.embed = PackedLinear(width, space.vocab, 8)
        else:
            self.embed = nn.Embedding(space.vocab, width)
            nn.init.normal_(self.embed.weight, std=0.02)
        self.places = nn.Embedding(config.context, width) if config.places == "learned" else None
        if self.places is not None:
            nn.init.normal_(self.places.weight, std=0.02)
        self.blocks = nn.ModuleList(Layer(config) for _ in range(config.depth))
        self.norm = normed(config, width)
        self.layers = None if config.bits is None else at_once(config, self.blocks, config.bits)
        self.leave: nn.Linear | PackedLinear | None = None
        if not config.tied:
            self.leave = linear(config, width, space.vocab, 8, bias=False)
            if isinstance(self.leave, nn.Linear):
                nn.init.normal_(self.leave.weight, std=0.02)

    def forward(self, x: Tensor, t: Tensor | None = None, cond: Cond = Cond(), state: State | None = None) -> Tensor:
        """See `Network`. Without a state, or with a fresh one, x begins with the begin mark."""
        memory = state if isinstance(state, Memory) else None
        ids, vocab = x[:, 0], self.vocab
        wanted = ids.shape[1] if memory is None or memory.wanted is None else memory.wanted
        if not (self.config.apart and (memory is None or not any(memory.fed))):
            h = self.read(torch.where(ids == vocab, self.begin, ids), memory)
            if memory is not None:
                memory.moved(ids.shape[1])
            return self.logits(h[:, -wanted:])[:, None]
        said = []
        if ids.shape[1] > 1:
            said.append(self.logits(self.read(ids[:, 1:], memory)[:, -wanted:]))
        if ids.shape[1] <= wanted:
            alone = self.logits(self.read(ids.new_full((1, 1), self.begin)))  # the same for every sample
            said.insert(0, alone.expand(len(ids), -1, -1))
        if memory is not None:
            memory.moved(ids.shape[1])
        return torch.cat(said, 1)[:, None]

    def several(self, x: Tensor, starts: Tensor, cond: Cond = Cond()) -> Tensor:
        """See `Several`; each text begins with a begin mark."""
        ids = torch.where(x[:, 0] == self.vocab, self.begin, x[:, 0])
        return self.logits(self.read(ids, None, starts))[:, None]

    def scored(
        self, x: Tensor, ids: Tensor, counts: Tensor | None = None, starts: Tensor | None = None, cond: Cond = Cond()
    ) -> tuple[Tensor, Tensor]:
        """See `Scoring`."""
        read, counts = torch.where(x[:, 0] == self.vocab, self.begin, x[:, 0]), None if counts is None else counts[:, 0]
        if not self.config.apart or starts is not None:
            h = self.read(read, None, starts)
        elif read.shape[1] > 1 and counts is not None and not bool(counts[:, 0].any()):
            h, ids, counts = self.read(read[:, 1:]), ids[:, :, 1:], counts[:, 1:]
        else:
            h = self.read(read[:1, :1]).expand(len(read), -1, -1)  # the same for every sample
            h = torch.cat([h, self.read(read[:, 1:])], 1) if read.shape[1] > 1 else h
        leave = self.embed if self.leave is None else self.leave
        if isinstance(leave, PackedLinear):
            said = self.logits(h)
            z = said.logsumexp(-1)
            nats = z - said.gather(-1, ids[:, 0, :, None]).squeeze(-1)
        else:
            nats, z = scored(h, leave.weight, ids[:, 0], counts)
        before = (x.shape[2] - ids.shape[2], 0)
        return F.pad(nats, before)[:, None], F.pad(z, before)[:, None]

    def start(self, batch: int, cells: int) -> State | None:
        """Room for `cells` cells."""
        c = self.config
        dtype = weight(self.norm).dtype if self.layers is None else torch.float16
        made = Memory(batch, cells, c.depth, c.kv_heads, c.head, dtype, mute=int(c.apart))
        made.price = made.price if self.layers is None else PRICES[self.layers.bits]
        return made

    def read(self, ids: Tensor, memory: Memory | None = None, starts: Tensor | None = None) -> Tensor:
        """Ids [B, n], all below `vocab`, to vectors [B, n, width] behind the last norm.

        memory: of the ids before them. starts: see `Several`. Raises `UsageError` beyond the learned places.
        """
        n = ids.shape[1]
        where, parted = places((n,), 0 if memory is None else memory.seen, n), None
        if starts is not None:
            mute = int(self.config.apart)
            where = (where[:, 0] - begun(starts) - mute).clamp(min=0)[..., None]
            parted = walls(starts, True, weight(self.norm).dtype, bool(mute))
        at_once = self.layers is not None and memory is not None
        h, table = self.first(ids, where, torch.float32 if at_once else weight(self.norm).dtype)
        if self.layers is not None and memory is not None and table is not None:
            h = self.layers(h, table, memory)
        else:
            for layer, block in enumerate(self.blocks):
                h = block(h, table, memory, layer, parted)
        y: Tensor = self.norm(h)
        return y

    def first(self, ids: Tensor, where: Tensor, dtype: torch.dtype) -> tuple[Tensor, Table | None]:
        """Ids [B, n] at places [n, 1] or [B, n, 1] as the first layer reads them; their rotary tables if it has any."""
        h: Tensor = self.embed.rows(ids) if isinstance(self.embed, PackedLinear) else self.embed(ids)
        h = h.to(dtype)
        if self.places is None:
            strength = 1.0 if self.config.stretch is None else self.config.stretch.strength
            cos, sin = waves(where.float() * speeds(self.config))
            return h, ((cos * strength).to(h.dtype), (sin * strength).to(h.dtype))
        last = 1 + int(where.max())
        if last > self.config.context:
            raise UsageError(
                f"{last} cells, but this network learned {self.config.context} places; give it fewer at a time"
            )
        return h + self.places(where[..., 0]), None

    def logits(self, h: Tensor) -> Tensor:
        """Vectors [..., width] to logits [..., vocab], float32."""
        leave = self.embed if self.leave is None else self.leave
        if isinstance(leave, PackedLinear):
            said: Tensor = leave(h)
            return said
        return F.linear(h, leave.weight).float()

    @property
    def brisk(self) -> bool:
        """See `Network`."""
        return self.config.bits is None and halves() and served(self.config, self.blocks)

    def packed(self, bits: int) -> Network:
        """See `Network`. Experts are left as they are, and so are weights that were compressed already."""
        if bits == 16:
            return Forms(self.space, partial(halved, self), partial(self.few, 16)) if self.brisk else halved(self)
        if self.config.bits is None:
            return self.few(bits)
        if bits != self.config.bits:
            raise UsageError(f"these weights have {self.config.bits} bits already; leave the precision out")
        return self

    def few(self, bits: int) -> Decoder:
        """This network with packed weights of so many bits, the output matrix of 8 at least."""
        made = copy.copy(self)
        made._modules = dict(self._modules)
        leave = self.embed if self.leave is None else self.leave
        if not isinstance(leave, PackedLinear) and self.config.width % COLUMNS == 0:
            made.leave = PackedLinear.of(leave, max(bits, 8))
        made.blocks = self.rounded(bits)
        read = [] if isinstance(made.leave, PackedLinear) else [("embed", self.embed)]  # of it alone rows are looked up
        for name, own in (*read, ("norm", self.norm), ("places", self.places)):
            setattr(made, name, None if own is None else wide(own))
        made.layers = at_once(self.config, made.blocks, bits)
        return made

    def rounded(self, bits: int) -> nn.ModuleList:
        """The layers to draw with, packed where they can be, and what is left in float32."""
        every = [part for block in self.blocks for part in block.children()]
        kept = {id(part): part for part in every if fitting(part) is not None}
        made = copy.deepcopy(self.blocks, kept)  # those are not copied but packed
        places: list[tuple[nn.Module, str]] = []
        linears: list[nn.Linear] = []
        found: list[nn.Linear | Adapted] = []
        for block in made:
            for name, part in block.named_children():
                plain = fitting(part)
                if plain is not None:
                    assert isinstance(part, nn.Linear | Adapted)
                    places.append((block, name))
                    linears.append(plain)
                    found.append(part)
        weights = ((part.merged() if isinstance(part, Adapted) else part).weight for part in found)
        for (block, name), few in zip(places, packed(linears, weights, bits), strict=True):
            setattr(block, name, few)
        return made.requires_grad_(False).float()


def fitting(part: nn.Module) -> nn.Linear | None:
    """The linear map that a part is, or corrects, if its rows can be packed."""
    plain = part.linear if isinstance(part, Adapted) else part
    return plain if isinstance(plain, nn.Linear) and plain.in_features % COLUMNS == 0 else None


def wide(module: nn.Module) -> nn.Module:
    """The same module with its own weights in float32, to draw with."""
    if all(p.dtype is torch.float32 for p in module.parameters()):
        return module
    made = copy.copy(module)
    weights = {name: nn.Parameter(p.detach().float(), requires_grad=False) for name, p in module.named_parameters()}
    made._parameters = {name: weights.get(name) for name in module._parameters}
    return made


def at_once(config: DecoderConfig, blocks: nn.ModuleList, bits: int) -> PackedLayers | None:
    """Packed layers in one call, where there is one for layers of this kind."""
    return PackedLayers(config, blocks, bits) if served(config, blocks) else None


def served(config: DecoderConfig, blocks: nn.ModuleList) -> bool:
    """Whether there is one."""
    c = config
    plain = c.norm == "rms" and c.places == "rotary" and c.gate == "swiglu" and not c.biases
    fits = not any(size % COLUMNS for size in (c.width, c.hidden, c.heads * c.head))
    there = not any(p.is_meta for p in blocks.parameters())
    return kernel() is not None and plain and fits and there and c.mixture is None and c.qk_norm == "none"


def speeds(config: DecoderConfig) -> Tensor:
    """Angles a place [head / 2] of the rotary pairs, stretched."""
    speed = 1 / config.theta ** (torch.arange(0, config.head, 2, dtype=torch.float32) / config.head)
    return speed if config.stretch is None else config.stretch.of(speed)
