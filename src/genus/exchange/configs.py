"""What a published config.json says of a network, as `networks.decoder`, and back. The values of a GGUF: `metadata`.

What a published setting would change and this network does not have is refused by name: to leave it out would give
other outputs without a word. Knows no tensor and no tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from genus.errors import UsageError
from genus.networks.decoder import DecoderConfig, Mixture
from genus.networks.stretches import Evenly, Stretch, Yarn

#: model_type -> the class that other libraries build.
HF = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "mixtral": "MixtralForCausalLM",
    "olmoe": "OlmoeForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}
#: Values of settings that change nothing; any other value of these is refused.
HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "clip_qkv": (None,),
    "decoder_sparse_step": (None, 1),
    "mlp_only_layers": (None, []),
    "partial_rotary_factor": (None, 1, 1.0),
    "scale_attn_by_inverse_layer_idx": (None, False),
    "scale_attn_weights": (None, True),
    "add_cross_attention": (None, False),
    "quantization_config": (None,),
}
Said = Mapping[str, Any]


def from_hf(said: Said) -> tuple[str, DecoderConfig, int, int]:
    """(model_type, configuration, vocabulary, longest window) of a config.json. Raises `UsageError` for what does not
    fit.
    """
    kind = said.get("model_type")
    if not isinstance(kind, str) or kind not in HF:
        raise UsageError(
            f"config.json says model_type = {kind!r}, which is not read; read are: {', '.join(HF)} (SmolLM2 is a llama)"
        )
    for name, values in HARMLESS.items():
        if name in said and said[name] not in values:
            raise UsageError(f"config.json says {name} = {said[name]!r}, which this version of genus does not have")
    if kind == "gpt2":
        return kind, *_gpt2(said)
    gate = said.get("hidden_act", "silu")
    if gate not in ("silu", "swish"):
        raise UsageError(f"config.json says hidden_act = {gate!r}; of a {kind} only silu is read")
    width, heads = _int(said, "hidden_size"), _int(said, "num_attention_heads")
    kv = said.get("num_key_value_heads") or (8 if kind in ("mistral", "mixtral") else heads)
    theta, stretch = _rope(said, 1e6 if kind == "mixtral" else 1e4)
    context = _int(said, "max_position_embeddings")
    attention = bool(said.get("attention_bias"))
    biased = kind in ("qwen2", "qwen2_moe") and said.get("qkv_bias") is not False
    biases = (("qkv", attention or biased), ("out", attention), ("ffn", bool(said.get("mlp_bias"))))
    norms: dict[str, Literal["none", "head", "all"]] = {"qwen3": "head", "qwen3_moe": "head", "olmoe": "all"}
    config = DecoderConfig(
        depth=_int(said, "num_hidden_layers"),
        width=width,
        head=said.get("head_dim") or width // heads,
        heads=heads,
        kv_heads=kv,
        hidden=_int(said, "intermediate_size"),
        mixture=_mixture(kind, said),
        eps=said.get("rms_norm_eps", 1e-5 if kind in ("mixtral", "olmoe") else 1e-6),
        theta=theta,
        stretch=stretch,
        context=context,
        biases=tuple(name for name, there in biases if there),
        qk_norm=norms.get(kind, "none"),
        tied=bool(said.get("tie_word_embeddings", False)),
    )
    slides = said.get("use_sliding_window", not kind.startswith("qwen"))
    sliding = said.get("sliding_window", 4096 if kind == "mistral" else None) if slides else None
    # Within one such window, sliding attention is plain attention; genus goes on from half a window when one is full.
    return kind, config, _int(said, "vocab_size"), min(context, sliding or context)


def _int(said: Said, name: str) -> int:
    value = said.get(name)
    if not isinstance(value, int) or value < 1:
        raise UsageError(f"config.json says {name} = {value!r}; it should be a whole number above 0")
    return value


def _number(said: Said, name: str) -> float:
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise UsageError(f"config.json says {name} = {value!r}; it should be a number above 0")
    return float(value)


def _yarn(rope: Said, said: Said) -> Yarn:
    if rope.get("truncate", True) is not True:
        raise UsageError("config.json stretches positions by yarn with truncate = false, which is not read")
    trained = rope.get("original_max_position_embeddings") or _int(said, "max_position_embeddings")
    factor = rope.get("factor") or _int(said, "max_position_embeddings") / trained
    sharp, scales = rope.get("attention_factor"), (rope.get("mscale"), rope.get("mscale_all_dim"))
    if sharp is None and all(scales):
        one, all_ = (0.1 * float(scale or 0) * math.log(factor) + 1 for scale in scales)
        sharp = one / all_
    fast, slow = rope.get("beta_fast") or 32.0, rope.get("beta_slow") or 1.0
    return Yarn(factor=factor, trained=trained, fast=fast, slow=slow, sharpness=sharp)


def _rope(said: Said, usual: float) -> tuple[float, Stretch | Evenly | Yarn | None]:
    """theta and what stretches it, of either way to write them."""
    rope = said.get("rope_parameters") or said.get("rope_scaling") or {}
    theta = rope.get("rope_theta") or said.get("rope_theta") or usual
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if rope.get("partial_rotary_factor", 1) != 1:
        raise UsageError("config.json turns a part of each head alone (partial_rotary_factor), which is not read")
    if kind == "default":
        return float(theta), None
    if kind == "linear":
        return float(theta), Evenly(factor=_number(rope, "factor"))
    if kind == "yarn":
        return float(theta), _yarn(rope, said)
    if kind != "llama3":
        raise UsageError(f"config.json stretches positions by {kind!r}; read are: default, linear, llama3, yarn")
    stretch = Stretch(
        factor=_number(rope, "factor"),
        low=_number(rope, "low_freq_factor"),
        high=_number(rope, "high_freq_factor"),
        trained=_int(rope, "original_max_position_embeddings"),
    )
    return float(theta), stretch


def _mixture(kind: str, said: Said) -> Mixture | None:
    if kind not in ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe"):
        return None
    number = said.get("num_local_experts") or said.get("num_experts")
    if not isinstance(number, int):
        raise UsageError("config.json does not say how many experts there are (num_local_experts or num_experts)")
    return Mixture(
        number=number,
        chosen=_int(said, "num_experts_per_tok"),
        hidden=_int(said, "moe_intermediate_size" if kind.startswith("qwen") else "intermediate_size"),
        even=kind == "mixtral" or bool(said.get("norm_topk_prob", False)),
        shared=_int(said, "shared_expert_intermediate_size") if kind == "qwen2_moe" else 0,
    )


def _gpt2(said: Said) -> tuple[DecoderConfig, int, int]:
    gate = said.get("activation_function", "gelu_new")
    if gate not in ("gelu_new", "gelu_pytorch_tanh"):
        raise UsageError(f"config.json says activation_function = {gate!r}; of a gpt2 only gelu_new is read")
    width, heads, context = _int(said, "n_embd"), _int(said, "n_head"), _int(said, "n_positions")
    config = DecoderConfig(
        depth=_int(said, "n_layer"),
        width=width,
        head=width // heads,
        heads=heads,
        kv_heads=heads,
        hidden=said.get("n_inner") or 4 * width,
        norm="layer",
        eps=said.get("layer_norm_epsilon", 1e-5),
        places="learned",
        context=context,
        gate="gelu",
        biases=("qkv", "out", "ffn"),
        tied=bool(said.get("tie_word_embeddings", True)),
    )
    return config, _int(said, "vocab_size"), context


def kind_of(config: DecoderConfig, hint: str | None = None) -> str:
    """The model_type that has just these settings; `hint` if it does too. Raises `UsageError` if none has."""
    plain = config.norm == "rms" and config.places == "rotary" and config.gate == "swiglu"
    biases, mixture = set(config.biases), config.mixture
    fits: dict[str, Callable[[], bool]] = {
        "gpt2": lambda: (
            (config.norm, config.places, config.gate, config.qk_norm) == ("layer", "learned", "gelu", "none")
            and biases == {"qkv", "out", "ffn"}
            and config.kv_heads == config.heads
            and config.heads * config.head == config.width
            and mixture is None
        ),
        "llama": lambda: (
            plain and mixture is None and config.qk_norm == "none" and ("qkv" in biases) == ("out" in biases)
        ),
        "mistral": lambda: plain and mixture is None and config.qk_norm == "none" and not biases,
        "qwen2": lambda: (
            plain
            and mixture is None
            and config.qk_norm == "none"
            and biases == {"qkv"}
            and config.heads * config.head == config.width
        ),
        "qwen3": lambda: plain and mixture is None and config.qk_norm == "head" and biases in (set(), {"qkv", "out"}),
        "mixtral": lambda: (
            plain
            and mixture is not None
            and mixture.even
            and not mixture.shared
            and not biases
            and config.qk_norm == "none"
        ),
        "olmoe": lambda: (
            plain
            and mixture is not None
            and not mixture.shared
            and config.qk_norm == "all"
            and config.heads * config.head == config.width
            and biases in (set(), {"qkv", "out"})
        ),
        "qwen2_moe": lambda: (
            plain
            and mixture is not None
            and mixture.shared > 0
            and config.qk_norm == "none"
            and biases == {"qkv"}
            and config.heads * config.head == config.width
        ),
        "qwen3_moe": lambda: (
            plain
            and mixture is not None
            and not mixture.shared
            and config.qk_norm == "head"
            and biases in (set(), {"qkv", "out"})
        ),
    }
    for name in ([hint] if hint in fits else []) + list(fits):
        if fits[name]():
            return name
    raise UsageError(
        f"no published architecture has these settings of {config.kind} together (norm {config.norm}, places "
        f"{config.places}, gate {config.gate}, biases {', '.join(config.biases) or 'none'}, qk_norm {config.qk_norm}, "
        f"{'experts' if mixture else 'no experts'}); known are: {', '.join(fits)}"
    )


def to_hf(config: DecoderConfig, kind: str, vocab: int) -> dict[str, Any]:
    """config.json of this model_type, without the ids of special tokens."""
    head: dict[str, Any] = {"architectures": [HF[kind]], "model_type": kind, "vocab_size": vocab}
    head |= {"tie_word_embeddings": config.tied, "use_cache": True}
    if kind == "gpt2":
        return head | {
            "n_embd": config.width,
            "n_layer": config.depth,
            "n_head": config.heads,
            "n_inner": config.hidden,
            "n_positions": config.context,
            "layer_norm_epsilon": config.eps,
            "activation_function": "gelu_new",
        }
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": config.theta}
    s = config.stretch
    if isinstance(s, Evenly):
        rope |= {"rope_type": "linear", "factor": s.factor}
    if isinstance(s, Yarn):
        rope |= {"rope_type": "yarn", "factor": s.factor, "beta_fast": s.fast, "beta_slow": s.slow}
        rope |= {"original_max_position_embeddings": s.trained}
        rope |= {} if s.sharpness is None else {"attention_factor": s.sharpness}
    if isinstance(s, Stretch):
        rope |= {"rope_type": "llama3", "factor": s.factor, "low_freq_factor": s.low, "high_freq_factor": s.high}
        rope |= {"original_max_position_embeddings": s.trained}
    said = head | {
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.eps,
        "rope_parameters": rope,
        # What versions before 5 of transformers read.
        "rope_theta": config.theta,
        "rope_scaling": rope if config.stretch is not None else None,
    }
    if kind in ("llama", "qwen3", "qwen3_moe", "olmoe"):
        said["attention_bias"] = "out" in config.biases
    if kind == "llama":
        said["mlp_bias"] = "ffn" in config.biases
    if kind in ("mistral", "mixtral", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe"):
        said["sliding_window"] = None
    if kind.startswith("qwen"):
        said["use_sliding_window"] = False
    if config.mixture is not None:
        m = config.mixture
        said |= {"num_experts_per_tok": m.chosen, "norm_topk_prob": m.even}
        said["num_local_experts" if kind == "mixtral" else "num_experts"] = m.number
        said["moe_intermediate_size" if kind.startswith("qwen") else "intermediate_size"] = m.hidden
        if m.shared:
            said["shared_expert_intermediate_size"] = m.shared
    return said
