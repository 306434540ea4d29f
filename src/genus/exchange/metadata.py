"""What the values of a GGUF say of a network, as `networks.decoder`, and back. config.json: `configs`.

What is not read is refused by name. Knows the shapes of tensors, which tell of biases and ties, and no tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from genus.errors import UsageError
from genus.exchange.configs import Said
from genus.networks.decoder import DecoderConfig, Mixture, speeds
from genus.networks.stretches import Evenly, Stretch, Yarn

#: model_type -> general.architecture.
GGUF = {
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gpt2": "gpt2",
    "olmoe": "olmoe",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
}


def from_gguf(values: Said, tensors: Mapping[str, tuple[int, ...]]) -> tuple[str, DecoderConfig, int, int]:
    """(model_type, network, vocabulary, cells that are read). tensors: the shapes. Raises `UsageError`."""
    arch = values.get("general.architecture")
    kinds = {"llama": "mixtral" if values.get("llama.expert_count") else "llama"}
    kinds |= {GGUF[kind]: kind for kind in GGUF if GGUF[kind] != "llama"}
    if arch not in kinds:
        raise UsageError(f"this GGUF says general.architecture = {arch!r}; read are: {', '.join(kinds)}")
    kind = kinds[arch]

    def told(name: str, usual: Any = None) -> Any:
        value = values.get(f"{arch}.{name}", usual)
        if value is None:
            raise UsageError(f"this GGUF does not say {arch}.{name}; take another file of this model")
        return value

    if "token_embd.weight" not in tensors:
        raise UsageError("this GGUF has no tensor token_embd.weight, so it is no whole model; take another file")
    vocab, width = tensors["token_embd.weight"]
    heads = told("attention.head_count")
    kv = told("attention.head_count_kv", heads)
    if not isinstance(heads, int) or not isinstance(kv, int):
        raise UsageError("this GGUF has another number of heads in each layer, which is not read")
    head = values.get(f"{arch}.attention.key_length") or width // heads
    layer = arch == "gpt2"
    if told("rope.dimension_count", head) != head:
        raise UsageError(f"this GGUF turns a part of each head alone ({arch}.rope.dimension_count), which is not read")
    stretch: Evenly | Yarn | None = None
    way = values.get(f"{arch}.rope.scaling.type", "none")
    if way == "linear":
        stretch = Evenly(factor=told("rope.scaling.factor"))
    elif way == "yarn":
        # What is written is a factor of the usual strength.
        yarn = Yarn(
            factor=told("rope.scaling.factor"),
            trained=told("rope.scaling.original_context_length"),
            fast=told("rope.scaling.yarn_beta_fast", 32.0),
            slow=told("rope.scaling.yarn_beta_slow", 1.0),
        )
        sharper = float(f"{told('rope.scaling.attn_factor', 1.0):.7g}")
        stretch = yarn if sharper == 1 else yarn.but(sharpness=sharper * yarn.usual)
    elif way != "none":
        raise UsageError(f"this GGUF stretches positions by {way!r}, which is not read")
    context = told("context_length")
    number = values.get(f"{arch}.expert_count") or 0
    mixture = None
    if number:
        up = tensors.get("blk.0.ffn_up_exps.weight")
        if up is None:
            raise UsageError("this GGUF keeps each expert in tensors of its own, an old layout that is not read")
        shared = tensors.get("blk.0.ffn_up_shexp.weight")
        even = values.get(f"{arch}.expert_weights_norm", kind in ("mixtral", "qwen3_moe"))
        mixture = Mixture(
            number=number,
            chosen=told("expert_used_count"),
            hidden=up[1],
            even=bool(even),
            shared=0 if shared is None else shared[0],
        )
    biases = (
        ("qkv", {"blk.0.attn_q.bias", "blk.0.attn_qkv.bias"}),
        ("out", {"blk.0.attn_output.bias"}),
        ("ffn", {"blk.0.ffn_up.bias"}),
    )
    norm: Literal["none", "head", "all"] = "none"
    if "blk.0.attn_q_norm.weight" in tensors:
        norm = "head" if tensors["blk.0.attn_q_norm.weight"] == (head,) and kind != "olmoe" else "all"
    eps = told("attention.layer_norm_epsilon" if layer else "attention.layer_norm_rms_epsilon")
    config = DecoderConfig(
        depth=told("block_count"),
        width=width,
        head=head,
        heads=heads,
        kv_heads=kv,
        hidden=told("feed_forward_length", mixture.hidden if mixture else None),
        mixture=mixture,
        norm="layer" if layer else "rms",
        eps=float(f"{eps:.6g}"),  # as it was written before it became 32 bits
        places="learned" if layer else "rotary",
        theta=float(f"{told('rope.freq_base', 10000.0):.7g}"),
        stretch=stretch,
        context=context,
        gate="gelu" if layer else "swiglu",
        biases=tuple(name for name, some in biases if some & tensors.keys()),
        qk_norm=norm,
        tied="output.weight" not in tensors,
    )
    return kind, config, vocab, min(context, values.get(f"{arch}.attention.sliding_window") or context)


def to_gguf(config: DecoderConfig, kind: str, vocab: int) -> dict[str, Any]:
    """The values that say the same."""
    arch = GGUF[kind]
    said: dict[str, Any] = {
        "context_length": config.context,
        "embedding_length": config.width,
        "block_count": config.depth,
        "feed_forward_length": config.hidden,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "vocab_size": vocab,
    }
    if kind == "gpt2":
        said["attention.layer_norm_epsilon"] = config.eps
    else:
        said |= {"attention.layer_norm_rms_epsilon": config.eps, "rope.freq_base": config.theta}
        said |= {"rope.dimension_count": config.head}
        said |= {"attention.key_length": config.head, "attention.value_length": config.head}
    s = config.stretch
    if isinstance(s, Evenly):
        said |= {"rope.scaling.type": "linear", "rope.scaling.factor": s.factor}
    if isinstance(s, Yarn):
        said |= {"rope.scaling.type": "yarn", "rope.scaling.factor": s.factor}
        said |= {"rope.scaling.original_context_length": s.trained, "rope.scaling.attn_factor": s.strength / s.usual}
        said |= {"rope.scaling.yarn_beta_fast": s.fast, "rope.scaling.yarn_beta_slow": s.slow}
    if config.mixture is not None:
        m = config.mixture
        said |= {"expert_count": m.number, "expert_used_count": m.chosen, "expert_weights_norm": m.even}
        if kind != "mixtral":
            said["expert_feed_forward_length"] = m.hidden
        else:
            said["feed_forward_length"] = m.hidden
        if m.shared:
            said["expert_shared_feed_forward_length"] = m.shared
    return {"general.architecture": arch} | {f"{arch}.{name}": value for name, value in said.items()}


def factors(config: DecoderConfig) -> torch.Tensor:
    """rope_freqs.weight: by how much each wave is stretched."""
    return speeds(config.but(stretch=None)) / speeds(config)


def stretched(config: DecoderConfig, told: torch.Tensor) -> DecoderConfig:
    """With the stretch that such factors tell of. Raises `UsageError` if no stretch of Llama 3 gives these."""
    for trained in (8192, 1 << 12, 1 << 14, 1 << 15, 1 << 16):
        found = config.but(stretch=Stretch(factor=round(float(told.max()), 4), trained=trained))
        if told.shape == (config.head // 2,) and torch.allclose(factors(found), told.float(), rtol=1e-4):
            return found
    raise UsageError("this GGUF stretches positions (rope_freqs.weight) otherwise than Llama 3 does, which is not read")
