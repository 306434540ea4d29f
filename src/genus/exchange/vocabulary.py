"""Published tokenizers as `codecs.published`, and back: files of a folder, and the values of a GGUF.

Which id the begin mark is read as, and which ids end a text, follows from what the tokenizer does: one that puts a
token before each text says so; behind others, texts were parted by the end-of-text token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from genus import files
from genus.codecs.published import TEMPLATE, Published, PublishedConfig
from genus.core import Codec
from genus.errors import GenusError, UsageError
from genus.networks.decoder import DecoderConfig

#: How the token that parts documents is spelt.
PARTING = ("<|endoftext|>", "<|end_of_text|>")
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace("{1,3}", "")


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _bytes(words: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": words}


def _sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


#: tokenizer.ggml.pre -> (how words are cut, whether whole words of the vocabulary skip the merges, normaliser).
WORDS: Mapping[str, tuple[dict[str, Any], bool, str | None]] = {
    "gpt-2": (_bytes(True), False, None),
    "smollm": (_sequence({"type": "Digits", "individual_digits": True}, _bytes(True)), False, None),
    "llama-bpe": (_sequence(_split(_LLAMA3), _bytes(False)), True, None),
    "qwen2": (_sequence(_split(_QWEN2), _bytes(False)), False, "NFC"),
    "olmo": (_bytes(True), False, "NFC"),
}
SAME = {"default": "gpt-2", "llama3": "llama-bpe", "llama-v3": "llama-bpe"}
#: Those that put a token before each text where the file does not say.
BEGUN = ("llama-bpe",)
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


@final
@dataclass(frozen=True)
class Speech:
    """A codec, and how the network reads its begin mark: as which id, and whether it stands apart."""

    codec: Published
    begin: int
    apart: bool


def speech(
    definition: str,
    template: str | None,
    vocab: int,
    ends: Iterable[int],
    bos: int | None,
    eos: int | None,
    begun: int | None,
) -> Speech:
    """ends: as published, the first one the usual. begun: the token before each text, None if there is none."""
    state = json.loads(definition)
    ids = {**state["model"].get("vocab", {})} if isinstance(state["model"].get("vocab"), dict) else {}
    ids |= {token["content"]: token["id"] for token in state.get("added_tokens", ())}
    parting = next((ids[token] for token in PARTING if token in ids), None)
    stops = list(dict.fromkeys([*([] if parting is None else [parting]), *ends]))
    if not stops:
        raise UsageError("nothing says which token ends a text (eos_token_id); add it to generation_config.json")
    if max(*stops, begun or 0) >= vocab:
        raise UsageError(f"the token {max(*stops, begun or 0)} is beyond the network's {vocab}; the files do not fit")
    begin = begun if begun is not None else stops[0]
    config = PublishedConfig(vocab=vocab, ends=tuple(stops), begin=begun, bos=bos, eos=eos)
    return Speech(Published(definition, template, config), begin, begun is None)


def from_folder(folder: Path, vocab: int, said: Mapping[str, Any]) -> Speech:
    """Of an HF folder. said: config.json and generation_config.json, the latter's word first."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UsageError(
            f"{folder} has no tokenizer.json; write one with transformers: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    definition = path.read_text(encoding="utf-8")
    told: dict[str, Any] = {}
    if (folder / "tokenizer_config.json").is_file():
        told = files.read_object(folder / "tokenizer_config.json")
    template = told.get("chat_template")
    if isinstance(template, list):  # several, by name
        template = next((t["template"] for t in template if t.get("name") == "default"), None)
    if (folder / TEMPLATE).is_file():
        template = (folder / TEMPLATE).read_text(encoding="utf-8")
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(definition)
    except Exception as error:  # the library raises plain Exception
        raise GenusError(f"{path} is damaged ({error}); download it again") from error
    first = tokenizer.encode("a").ids[:1] if tokenizer.encode("a").ids != _bare(tokenizer) else []

    def named(role: str) -> int | None:
        token = told.get(role)
        found = tokenizer.token_to_id(token["content"] if isinstance(token, dict) else token) if token else None
        usual = said.get(f"{role}_id")
        return found if found is not None else usual if isinstance(usual, int) else None

    eos = said.get("eos_token_id")
    ends = eos if isinstance(eos, list) else [] if eos is None else [eos]
    own = named("eos_token")
    ends = ends or ([] if own is None else [own])
    return speech(definition, template, vocab, ends, named("bos_token"), own, first[0] if first else None)


def _bare(tokenizer: Any) -> list[int]:
    ids: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    return ids


def from_gguf(values: Mapping[str, Any], vocab: int) -> Speech:
    """Of the values of a GGUF. Raises `UsageError` for a kind of tokenizer that is not read."""
    said = {name.removeprefix("tokenizer.ggml."): v for name, v in values.items() if name.startswith("tokenizer.ggml.")}
    kind, tokens = said.get("model"), said.get("tokens")
    whole = values.get("tokenizer.huggingface.json")
    pre = SAME.get(str(said.get("pre", "default")), str(said.get("pre", "default")))
    eos, bos = said.get("eos_token_id"), said.get("bos_token_id")
    if not isinstance(tokens, list) or len(tokens) > vocab:
        raise UsageError("this GGUF holds no tokenizer of its network; take another file, or a folder of Hugging Face")
    if isinstance(whole, str):
        definition = whole
    elif kind == "gpt2":
        if pre not in WORDS:
            raise UsageError(
                f"this GGUF cuts words in the way {pre!r} (tokenizer.ggml.pre), which is not read; read are: "
                f"{', '.join(WORDS)}; import the folder of Hugging Face instead"
            )
        definition = json.dumps(byte_pairs(tokens, said.get("token_type"), said.get("merges") or (), pre))
    elif kind == "llama":
        prefix = bool(said.get("add_space_prefix", True))
        definition = json.dumps(pieces(tokens, said.get("token_type"), said.get("scores") or (), prefix))
    else:
        raise UsageError(
            f"this GGUF's tokenizer is of the kind {kind!r}; read are 'gpt2' (byte pairs) and 'llama' (SentencePiece), "
            "so import the folder of Hugging Face"
        )
    begun = bos if said.get("add_bos_token", kind == "llama" or pre in BEGUN) else None
    ends = [said[name] for name in ("eos_token_id", "eot_token_id", "eom_token_id") if said.get(name) is not None]
    return speech(definition, values.get("tokenizer.chat_template"), vocab, ends, bos, eos, begun)


def byte_pairs(tokens: Sequence[str], types: Sequence[int] | None, merges: Sequence[str], pre: str) -> dict[str, Any]:
    """`tokenizer.json` of byte-level pairs."""
    words, whole, form = WORDS[pre]
    types = types or [NORMAL] * len(tokens)
    marks = [
        added(i, token, kind == CONTROL)
        for i, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER)
    ]
    kept = {token: i for i, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind != UNUSED}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": whole,
        "vocab": kept,
        "merges": [pair.split(" ", 1) for pair in merges],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": marks,
        "normalizer": None if form is None else {"type": form},
        "pre_tokenizer": words,
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": model,
    }


def pieces(tokens: Sequence[str], types: Sequence[int] | None, scores: Sequence[float], prefix: bool) -> dict[str, Any]:
    """`tokenizer.json` of SentencePiece's pairs: spaces are the letter ▁, bytes that no token spells have ids of their
    own. A token's score says when it is put together; prefix: a text begins with a space.
    """
    types = types or [NORMAL] * len(tokens)
    if len(scores) != len(tokens):
        raise UsageError("this GGUF has no scores of its tokens; import the folder of Hugging Face instead")
    state = byte_pairs(tokens, types, (), "gpt-2")
    ids: dict[str, int] = state["model"]["vocab"]
    ways = [
        (-scores[i], -cut, -(len(token) - cut), token[:cut], token[cut:])
        for i, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (NORMAL, USER)
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    unknown = next((token for token, kind in zip(tokens, types, strict=True) if kind == UNKNOWN), None)
    model = {"merges": [[a, b] for *_, a, b in sorted(ways)], "byte_fallback": True}
    state["model"] |= model | {"unk_token": unknown, "fuse_unk": True}
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    start = [{"type": "Prepend", "prepend": "▁"}] if prefix else []
    back = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return state | {
        "normalizer": {"type": "Sequence", "normalizers": [*start, space]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [*back, *strip]},
    }


def to_folder(codec: Codec, config: DecoderConfig, vocab: int) -> tuple[str, dict[str, Any]]:
    """(tokenizer.json, tokenizer_config.json): one that puts the begin mark before each text, if the network reads it
    there.
    """
    state = _state(codec)
    published = codec.config if isinstance(codec, Published) else None
    bos = config.begin if not config.apart else None if published is None else published.bos
    eos = codec.space.stops[0] if published is None or published.eos is None else published.eos
    spelt = _spelt(state)
    known = {token["id"] for token in state.get("added_tokens") or ()}
    marks = [i for i in dict.fromkeys([*codec.space.stops, *([] if bos is None else [bos])]) if i not in known]
    more = [added(i, spelt[i]) for i in marks]
    definition = getattr(codec, "definition", "")
    lacking = not config.apart and not _begins(definition, config.begin)
    if more or lacking:
        state["added_tokens"] = sorted([*(state.get("added_tokens") or ()), *more], key=lambda token: int(token["id"]))
        if lacking:
            assert config.begin is not None
            state["post_processor"] = _begun(spelt[config.begin], config.begin)
        definition = json.dumps(state, ensure_ascii=False)
    told: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    told |= {"eos_token": spelt[eos]} | ({} if bos is None else {"bos_token": spelt[bos]})
    return definition, told


def _begins(definition: str, begin: int | None) -> bool:
    from tokenizers import Tokenizer

    ids: list[int] = Tokenizer.from_str(definition).encode("a").ids
    return ids[:1] == [begin]


def _begun(token: str, i: int) -> dict[str, Any]:
    """What puts a token before each text."""
    mark = {"SpecialToken": {"id": token, "type_id": 0}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    special = {token: {"id": token, "ids": [i], "tokens": [token]}}
    return {
        "type": "TemplateProcessing",
        "single": [mark, first],
        "pair": [mark, first, second],
        "special_tokens": special,
    }


def _state(codec: Codec) -> dict[str, Any]:
    definition = getattr(codec, "definition", None)
    assert isinstance(definition, str), "this codec has no tokenizer.json"
    state: dict[str, Any] = json.loads(definition)
    return state


def _spelt(state: Mapping[str, Any]) -> dict[int, str]:
    """Id -> token."""
    vocab = state["model"].get("vocab")
    spelt = {i: token for token, i in vocab.items()} if isinstance(vocab, dict) else {}
    return spelt | {token["id"]: token["content"] for token in state.get("added_tokens") or ()}


def added(i: int, token: str, special: bool = True) -> dict[str, Any]:
    """A token that is found before words are cut."""
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": i, "content": token, **plain, "special": special}


def to_gguf(codec: Codec, config: DecoderConfig, vocab: int) -> tuple[dict[str, Any], list[str]]:
    """The values that say a codec of byte pairs, and what other programs will not understand of it.

    The tokenizer is written whole besides (tokenizer.huggingface.json), from which genus reads it back exactly.
    """
    definition = to_folder(codec, config, vocab)[0]
    state = json.loads(definition)
    model = state["model"]
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        raise UsageError("only tokenizers of byte-level pairs are written to a GGUF; export with --format hf")
    tokens, types = [f"[PAD{i}]" for i in range(vocab)], [UNUSED] * vocab
    for token, i in model["vocab"].items():
        tokens[i], types[i] = token, NORMAL
    for one in state.get("added_tokens", ()):
        tokens[one["id"]], types[one["id"]] = one["content"], CONTROL if one["special"] else USER
    stops = codec.space.stops
    for i in stops:
        types[i] = CONTROL
    pre = _pre(state)
    begin = config.begin if not config.apart else None
    published = codec.config if isinstance(codec, Published) else None
    bos = published.bos if published is not None and published.bos is not None else config.begin
    eos = published.eos if published is not None and published.eos is not None else stops[0]
    said: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre or "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.bos_token_id": bos,
        "tokenizer.ggml.eos_token_id": eos,
        "tokenizer.ggml.add_bos_token": begin is not None,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.huggingface.json": definition,
    }
    others = [i for i in stops if i not in (eos, bos)]
    said |= {f"tokenizer.ggml.{name}": i for name, i in zip(("eot_token_id", "eom_token_id"), others, strict=False)}
    if published is not None and codec.template is not None:  # type: ignore[attr-defined]
        said["tokenizer.chat_template"] = codec.template  # type: ignore[attr-defined]
    lost = []
    if pre is None:
        lost.append(
            "this tokenizer cuts words in a way that GGUF has no name for: genus reads it back exactly, other programs "
            "cut some words otherwise"
        )
    return said, lost


def _pre(state: Mapping[str, Any]) -> str | None:
    """Its name in a GGUF of how words are cut, if there is one."""
    words = _plain(state.get("pre_tokenizer"))
    form = (state.get("normalizer") or {}).get("type")
    for name, (known, _, usual) in WORDS.items():
        if words == _plain(known) and form == usual:
            return name
    return None


def _plain(words: Any) -> Any:
    """Without what changes no cut."""
    if isinstance(words, dict):
        return {k: _plain(v) for k, v in words.items() if k != "trim_offsets"}
    return [_plain(one) for one in words] if isinstance(words, list) else words
