"""A decoder -> the same one with weights of few bits, layer by layer, by what its layers read in some texts.

Each layer sees what the rounded layers before it make of the texts. First channels get factors, which the weights that
write them take back (norms, the values of attention, the open half of a gated feed-forward); then each matrix is
rounded with its error fed back (`networks.rounding`). Embeddings and the output matrix get 8 bits, to the nearest.
Vectors, routers and experts stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor, nn

from genus.errors import UsageError
from genus.networks.attention import Table, places
from genus.networks.decoder import Decoder
from genus.networks.layer import Layer, weight
from genus.networks.packed import COLUMNS, PackedLinear, rounded
from genus.networks.rounding import fed_back, scaled

Way = Literal["nearest", "awq", "gptq", "both"]
LOOKED = 512  # cells that factors are searched on
NAMES = ("qkv", "out", "up", "down")


@final
@dataclass
class Seen:
    """What a linear map reads: moments x^T x, and some of the x."""

    moments: Tensor
    some: Tensor

    @staticmethod
    def by(layer: Layer, rows: Sequence[Tensor], tables: Sequence[Table | None]) -> dict[str, Seen]:
        """What the linear maps of a layer read of rows [1, T, width], by their names; those that can be packed."""
        found: dict[str, list[Tensor]] = {}
        hooks = []
        for name in NAMES:
            part = getattr(layer, name)
            if isinstance(part, nn.Linear) and part.in_features % COLUMNS == 0:

                def note(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
                    found.setdefault(name, []).append(args[0].detach().flatten(0, -2))

                hooks.append(part.register_forward_pre_hook(note))
        try:
            for h, table in zip(rows, tables, strict=True):
                layer(h, table, None, 0)
        finally:
            for hook in hooks:
                hook.remove()
        every = {name: torch.cat(rows) for name, rows in found.items()}
        return {name: Seen(x.T @ x, x[:: -(-len(x) // LOOKED)]) for name, x in every.items()}


@torch.no_grad()
def compressed(
    net: Decoder,
    texts: Sequence[Tensor],
    bits: int,
    way: Way = "both",
    told: Callable[[int, int], object] = lambda done, of: None,
) -> Decoder:
    """The network in so many bits (4 or 8). texts: ids [T] each. told: (layers done, all of them).

    Raises `UsageError` for one that is compressed already, or whose width is no multiple of 32.
    """
    if net.config.bits is not None:
        raise UsageError(f"these weights have {net.config.bits} bits already; compress the run that they were made of")
    if net.config.width % COLUMNS:
        raise UsageError(f"the width {net.config.width} is no multiple of {COLUMNS}, so groups of weights do not fit")
    made = net.config.but(bits=bits).build(net.space).eval()
    made.begin = net.begin
    kept = dict(made.named_parameters())
    made.load_state_dict({k: v for k, v in net.state_dict().items() if k in kept}, strict=False)
    for mine, theirs in ((made.embed, net.embed), (made.leave, net.leave)):
        if isinstance(mine, PackedLinear) and isinstance(theirs, nn.Linear | nn.Embedding):
            mine.fill(*rounded(theirs.weight, 8))
    kind = weight(made.norm).dtype
    begun = [made.first(ids[None], places((len(ids),), 0, len(ids)), kind) for ids in texts]
    rows, tables = [h for h, _ in begun], [table for _, table in begun]
    for at, (block, target) in enumerate(zip(net.blocks, made.blocks, strict=True)):
        assert isinstance(block, Layer) and isinstance(target, Layer)
        layer = copy.deepcopy(block).eval()
        seen = Seen.by(layer, rows, tables)
        if way in ("awq", "both"):
            _evened(layer, seen, bits)
        for name, x in seen.items():
            part, to = getattr(layer, name), getattr(target, name)
            back = way in ("gptq", "both")
            to.fill(*(fed_back(part.weight, x.moments, bits) if back else rounded(part.weight, bits)))
        kept = dict(target.named_parameters())
        target.load_state_dict({k: v for k, v in layer.state_dict().items() if k in kept}, strict=False)
        rows = [target(h, table, None, 0) for h, table in zip(rows, tables, strict=True)]
        told(at + 1, len(net.blocks))
    return made


def _evened(layer: Layer, seen: dict[str, Seen], bits: int) -> None:
    """Factors into the channels that the linear maps of a layer read, and out of what writes them."""
    for norm, name in ((layer.before, "qkv"), (layer.middle, "up")):
        if name in seen:
            s = _taken(layer, name, seen, bits)
            for weight in norm.parameters():
                weight.div_(s)
    if "out" in seen:
        # The values of one head are read by several, which must agree on the factors of its channels.
        heads, each = layer.heads // layer.kv_heads, layer.head
        channel = torch.arange(layer.kv_heads * each).view(layer.kv_heads, 1, each)
        tied = channel.expand(-1, heads, -1).flatten()
        s = _taken(layer, "out", seen, bits, tied)
        values = slice((layer.heads + layer.kv_heads) * each, None)
        _written(layer.qkv, values, s.view(layer.kv_heads, heads, each)[:, 0].flatten())
    if "down" in seen and layer.swiglu:
        s = _taken(layer, "down", seen, bits)
        _written(layer.up, slice(0, len(s)), s)


def _taken(layer: Layer, name: str, seen: dict[str, Seen], bits: int, tied: Tensor | None = None) -> Tensor:
    """The factors of what a linear map reads, multiplied into its weights and out of what was seen."""
    part, x = getattr(layer, name), seen[name]
    s = scaled(part.weight, x.some, bits, tied)
    part.weight *= s
    seen[name] = Seen(x.moments / s[:, None] / s, x.some / s)
    return s


def _written(part: nn.Linear | PackedLinear | None, rows: slice, s: Tensor) -> None:
    """These outputs of a linear map, over their factors."""
    assert isinstance(part, nn.Linear)
    part.weight[rows] /= s[:, None]
    if part.bias is not None:
        part.bias[rows] /= s
