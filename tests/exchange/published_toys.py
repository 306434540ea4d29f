"""Tiny published models, made of their configuration alone: the same weights here and beside transformers."""

import json
import zlib

import numpy as np
import torch
from safetensors.torch import save_file

IDS = [27, 17, 4, 29, 8, 8, 21, 35, 2, 11, 30, 5, 9, 14]
TOKENS = {chr(97 + i): i for i in range(26)} | {f"<{i}>": 26 + i for i in range(10)}


def numbers(name, shape):
    """Uniform in -0.35 .. 0.35, a function of the name; norms around 1."""
    bits = np.random.Philox(key=np.array([zlib.crc32(name.encode()), 1], np.uint64)).random_raw(int(np.prod(shape)))
    x = ((bits >> np.uint64(40)).astype(np.float64) / (1 << 24) - 0.5) * 0.7
    norm = any(part in name for part in ("norm", "ln_")) and name.endswith("weight")
    return torch.from_numpy((x + norm).astype(np.float32)).reshape(shape)


def tokenizer(first=None):
    """Letters, and ten special tokens; `first` stands before each text."""
    added = [
        {"id": i, "content": token, **dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)}
        | {"special": True}
        for token, i in TOKENS.items()
        if i >= 26
    ]
    begin = None
    if first is not None:
        mark, text = {"SpecialToken": {"id": first, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
        special = {first: {"id": first, "ids": [TOKENS[first]], "tokens": [first]}}
        begin = {"type": "TemplateProcessing", "single": [mark, text], "pair": [mark, text], "special_tokens": special}
    model = {"type": "BPE", "vocab": TOKENS, "merges": [], "ignore_merges": False, "byte_fallback": False}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": begin,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": model,
        }
    )


def folder(path, config, tensors, first=None, template=None, shards=1):
    """A folder of Hugging Face. tensors: name -> shape."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    names = sorted(tensors)
    made = {name: numbers(name, tensors[name]) for name in names}
    if shards == 1:
        save_file(made, path / "model.safetensors")
    else:
        parts = [names[i::shards] for i in range(shards)]
        called = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
        for name, part in zip(called, parts, strict=True):
            save_file({key: made[key] for key in part}, path / name)
        where = {key: name for name, part in zip(called, parts, strict=True) for key in part}
        (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (path / "tokenizer.json").write_text(tokenizer(first))
    told = {"eos_token": "<2>", "bos_token": "<1>"} | ({} if template is None else {"chat_template": template})
    (path / "tokenizer_config.json").write_text(json.dumps(told))
    (path / "generation_config.json").write_text(json.dumps({"eos_token_id": [28, 29]}))
    (path / "README.md").write_text("---\nlicense: mit\n---\n# toy\n")
    return path
