"""Where each weight of `networks.decoder` stands in published files: names, pieces, turned axes. Reads no file.

A weight of ours is one or several published tensors put together: queries, keys and values lie in one matrix here, and
the experts of a layer in one block. A `Weight` says so once, and is read both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from genus.networks.decoder import DecoderConfig


@final
@dataclass(frozen=True)
class Piece:
    """A published tensor.

    shape: as it is published. flipped: its two axes are changed. paired: rows of so many heads whose rotary pairs are
    neighbours (2 i, 2 i + 1), where ours are (i, i + head / 2); 0: as ours. flat: our only row is a vector there.
    """

    name: str
    shape: tuple[int, ...]
    flipped: bool = False
    paired: int = 0
    flat: bool = False

    @property
    def size(self) -> tuple[int, ...]:
        """The shape as a part of our weight."""
        return (1, *self.shape) if self.flat else self.shape[::-1] if self.flipped else self.shape

    def ours(self, x: Tensor) -> Tensor:
        """The tensor as a part of our weight."""
        x = x.mT if self.flipped else x.view(self.size)
        return x if not self.paired else x.view(self.paired, -1, 2, *x.shape[1:]).transpose(1, 2).flatten(0, 2)

    def theirs(self, x: Tensor) -> Tensor:
        """And back."""
        x = x if not self.paired else x.reshape(self.paired, 2, -1, *x.shape[1:]).transpose(1, 2).flatten(0, 2)
        return (x.mT if self.flipped else x.reshape(self.shape)).contiguous()


@final
@dataclass(frozen=True)
class Weight:
    """name: of ours. Its pieces follow each other along `axis`; stacked: first so many at a time, then these groups
    along a new first axis.
    """

    name: str
    pieces: tuple[Piece, ...]
    axis: int = 0
    stacked: int = 0

    def ours(self, pieces: Sequence[Tensor]) -> Tensor:
        """Put together."""
        whole = [piece.ours(x) for piece, x in zip(self.pieces, pieces, strict=True)]
        if self.stacked:
            each = self.stacked
            return torch.stack([torch.cat(whole[i : i + each], self.axis) for i in range(0, len(whole), each)])
        return torch.cat(whole, self.axis) if len(whole) > 1 else whole[0]

    def theirs(self, x: Tensor) -> list[Tensor]:
        """Taken apart."""
        groups = list(x) if self.stacked else [x]
        each = self.stacked or len(self.pieces)
        parts: list[Tensor] = []
        for i, group in enumerate(groups):
            pieces = self.pieces[i * each : (i + 1) * each]
            sizes = [piece.size[self.axis] for piece in pieces]
            parts += [piece.theirs(part) for piece, part in zip(pieces, group.split(sizes, self.axis), strict=True)]
        return parts


@final
@dataclass(frozen=True)
class Names:
    """What a family of files calls the parts, `{i}` the layer and `{e}` the expert.

    qkv: of the three in one tensor; else q, k and v each. expert_*: one tensor an expert if `{e}` is in the name, else
    one of all. flipped: matrices of the layers are stored input first. paired, flat: see `Piece`; flat is the gate of
    the shared expert.
    """

    parts: Mapping[str, str]
    flipped: bool = False
    paired: bool = False
    flat: bool = False

    def __contains__(self, part: str) -> bool:
        return part in self.parts

    def of(self, part: str, i: int = 0, e: int = 0) -> str:
        """The name, without .weight or .bias."""
        return self.parts[part].format(i=i, e=e)


def weights(config: DecoderConfig, vocab: int, names: Names) -> Iterator[Weight]:
    """Every weight of the network that `config` builds, in the order of a file."""
    width, head, heads, kv = config.width, config.head, config.heads, config.kv_heads
    layer_norm = config.norm == "layer"

    def one(ours: str, part: str, shape: tuple[int, ...], i: int = 0, flipped: bool = False) -> Weight:
        """A weight that is one tensor: the last word of `ours` is the last word of its name."""
        shape = shape[::-1] if flipped else shape
        return Weight(ours, (Piece(f"{names.of(part, i)}.{ours.rpartition('.')[2]}", shape, flipped),))

    def both(ours: str, part: str, i: int = 0) -> Iterator[Weight]:
        """A norm."""
        yield one(f"{ours}.weight", part, (width,), i)
        if layer_norm:
            yield one(f"{ours}.bias", part, (width,), i)

    def joined(ours: str, parts: Sequence[tuple[str, int, int]], columns: int, bias: bool, i: int) -> Iterator[Weight]:
        """A product whose rows are those of several parts: (name, rows, heads whose pairs are neighbours)."""
        flip = names.flipped
        some = tuple(
            Piece(f"{names.of(part, i)}.weight", (columns, rows) if flip else (rows, columns), flip, paired)
            for part, rows, paired in parts
        )
        yield Weight(f"{ours}.weight", some)
        if bias:
            some = tuple(Piece(f"{names.of(p, i)}.bias", (rows,), False, paired) for p, rows, paired in parts)
            yield Weight(f"{ours}.bias", some)

    yield one("embed.weight", "embed", (vocab, width))
    if config.places == "learned":
        yield one("places.weight", "places", (config.context, width))
    for i in range(config.depth):
        at = f"blocks.{i}"
        yield from both(f"{at}.before", "before", i)
        if "qkv" in names:
            rows = [("qkv", (heads + 2 * kv) * head, 0)]
        else:
            turned = names.paired and config.places == "rotary"
            rows = [("q", heads * head, heads * turned), ("k", kv * head, kv * turned), ("v", kv * head, 0)]
        yield from joined(f"{at}.qkv", rows, width, "qkv" in config.biases, i)
        yield from joined(f"{at}.out", [("out", width, 0)], heads * head, "out" in config.biases, i)
        if config.qk_norm != "none":
            each = config.qk_norm == "head"
            yield one(f"{at}.q_norm.weight", "q_norm", (head if each else heads * head,), i)
            yield one(f"{at}.k_norm.weight", "k_norm", (head if each else kv * head,), i)
        yield from both(f"{at}.middle", "middle", i)
        if config.mixture is None:
            hidden, ffn = config.hidden, "ffn" in config.biases
            rows = [("up", hidden, 0), ("gate", hidden, 0)] if config.gate == "swiglu" else [("up", hidden, 0)]
            yield from joined(f"{at}.up", rows, width, ffn, i)
            yield from joined(f"{at}.down", [("down", width, 0)], hidden, ffn, i)
        else:
            yield from _mixture(config, names, i)
    yield from both("norm", "norm")
    if not config.tied:
        yield one("leave.weight", "leave", (vocab, width))


def _mixture(config: DecoderConfig, names: Names, i: int) -> Iterator[Weight]:
    """The experts of a layer."""
    m, width, at = config.mixture, config.width, f"blocks.{i}.experts"
    assert m is not None
    yield Weight(f"{at}.router.weight", (Piece(f"{names.of('router', i)}.weight", (m.number, width)),))
    inner, outer = (m.hidden, width), (width, m.hidden)
    if "{e}" in names.parts["expert_up"]:
        ups = [
            Piece(f"{names.of(part, i, e)}.weight", inner)
            for e in range(m.number)
            for part in ("expert_up", "expert_gate")
        ]
        downs = [Piece(f"{names.of('expert_down', i, e)}.weight", outer) for e in range(m.number)]
        yield Weight(f"{at}.up", tuple(ups), stacked=2)
        yield Weight(f"{at}.down", tuple(downs), stacked=1)
    else:
        ups = [Piece(f"{names.of(part, i)}.weight", (m.number, *inner)) for part in ("expert_up", "expert_gate")]
        yield Weight(f"{at}.up", tuple(ups), axis=1)
        yield Weight(f"{at}.down", (Piece(f"{names.of('expert_down', i)}.weight", (m.number, *outer)),))
    if m.shared:
        some = tuple(Piece(f"{names.of(p, i)}.weight", (m.shared, width)) for p in ("shared_up", "shared_gate_up"))
        yield Weight(f"{at}.shared_up.weight", some)
        yield Weight(f"{at}.shared_down.weight", (Piece(f"{names.of('shared_down', i)}.weight", (width, m.shared)),))
        row = (width,) if names.flat else (1, width)
        gate = Piece(f"{names.of('shared_gate', i)}.weight", row, flat=names.flat)
        yield Weight(f"{at}.shared_gate.weight", (gate,))


_HF = {
    "embed": "model.embed_tokens",
    "norm": "model.norm",
    "leave": "lm_head",
    "before": "model.layers.{i}.input_layernorm",
    "middle": "model.layers.{i}.post_attention_layernorm",
    "q": "model.layers.{i}.self_attn.q_proj",
    "k": "model.layers.{i}.self_attn.k_proj",
    "v": "model.layers.{i}.self_attn.v_proj",
    "out": "model.layers.{i}.self_attn.o_proj",
    "q_norm": "model.layers.{i}.self_attn.q_norm",
    "k_norm": "model.layers.{i}.self_attn.k_norm",
    "up": "model.layers.{i}.mlp.up_proj",
    "gate": "model.layers.{i}.mlp.gate_proj",
    "down": "model.layers.{i}.mlp.down_proj",
    "router": "model.layers.{i}.mlp.gate",
    "expert_up": "model.layers.{i}.mlp.experts.{e}.up_proj",
    "expert_gate": "model.layers.{i}.mlp.experts.{e}.gate_proj",
    "expert_down": "model.layers.{i}.mlp.experts.{e}.down_proj",
    "shared_up": "model.layers.{i}.mlp.shared_expert.up_proj",
    "shared_gate_up": "model.layers.{i}.mlp.shared_expert.gate_proj",
    "shared_down": "model.layers.{i}.mlp.shared_expert.down_proj",
    "shared_gate": "model.layers.{i}.mlp.shared_expert_gate",
}
_HF_MIXTRAL = _HF | {
    "router": "model.layers.{i}.block_sparse_moe.gate",
    "expert_up": "model.layers.{i}.block_sparse_moe.experts.{e}.w3",
    "expert_gate": "model.layers.{i}.block_sparse_moe.experts.{e}.w1",
    "expert_down": "model.layers.{i}.block_sparse_moe.experts.{e}.w2",
}
_HF_GPT2 = {
    "embed": "transformer.wte",
    "places": "transformer.wpe",
    "norm": "transformer.ln_f",
    "leave": "lm_head",
    "before": "transformer.h.{i}.ln_1",
    "middle": "transformer.h.{i}.ln_2",
    "qkv": "transformer.h.{i}.attn.c_attn",
    "out": "transformer.h.{i}.attn.c_proj",
    "up": "transformer.h.{i}.mlp.c_fc",
    "down": "transformer.h.{i}.mlp.c_proj",
}
_GGUF = {
    "embed": "token_embd",
    "places": "position_embd",
    "norm": "output_norm",
    "leave": "output",
    "before": "blk.{i}.attn_norm",
    "middle": "blk.{i}.ffn_norm",
    "q": "blk.{i}.attn_q",
    "k": "blk.{i}.attn_k",
    "v": "blk.{i}.attn_v",
    "out": "blk.{i}.attn_output",
    "q_norm": "blk.{i}.attn_q_norm",
    "k_norm": "blk.{i}.attn_k_norm",
    "up": "blk.{i}.ffn_up",
    "gate": "blk.{i}.ffn_gate",
    "down": "blk.{i}.ffn_down",
    "router": "blk.{i}.ffn_gate_inp",
    "expert_up": "blk.{i}.ffn_up_exps",
    "expert_gate": "blk.{i}.ffn_gate_exps",
    "expert_down": "blk.{i}.ffn_down_exps",
    "shared_up": "blk.{i}.ffn_up_shexp",
    "shared_gate_up": "blk.{i}.ffn_gate_shexp",
    "shared_down": "blk.{i}.ffn_down_shexp",
    "shared_gate": "blk.{i}.ffn_gate_inp_shexp",
}
_GGUF_GPT2 = {name: said for name, said in _GGUF.items() if name not in ("q", "k", "v")} | {"qkv": "blk.{i}.attn_qkv"}


def hf(kind: str) -> Names:
    """The names in a folder of this `model_type`."""
    if kind == "gpt2":
        return Names(_HF_GPT2, flipped=True)
    return Names(_HF_MIXTRAL if kind == "mixtral" else _HF)


def gguf(kind: str) -> Names:
    """The names in a file of this `general.architecture`."""
    return Names(_GGUF_GPT2) if kind == "gpt2" else Names(_GGUF, paired=kind == "llama", flat=True)
