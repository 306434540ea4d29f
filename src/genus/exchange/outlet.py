"""A run -> files that everyone reads: a folder of Hugging Face, or one GGUF. Read back and compared before it is there.

Runs of `networks.decoder` whose codec is a tokenizer of byte pairs or a published one. Where a row does not fit the
blocks of a number format, or would lose too much by it (embeddings in 4 bits), the next better format is taken, as
other programs do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

import genus
from genus import files
from genus.codecs.published import TEMPLATE
from genus.core import Codec
from genus.errors import GenusError, UsageError
from genus.exchange import configs, gguf, layout, metadata, vocabulary
from genus.exchange.packing import FORMATS, Floats, Format
from genus.exchange.parity import Parity, compared
from genus.exchange.source import INDEX, SINGLE, opened
from genus.networks.decoder import Decoder, DecoderConfig
from genus.networks.stretches import Stretch
from genus.run import Run
from genus.samplers.tokens import Tokens

TYPES = {
    "hf": ("f32", "f16", "bf16"),
    "gguf": ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_k"),
}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
#: general.file_type of a GGUF.
FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "q4_k": 15, "bf16": 32}
#: What a row that does not fit a format is stored as.
NEXT = {"q4_k": "q5_0", "q4_0": "f16", "q5_0": "f16", "q8_0": "f16"}
SHARD = 4 << 30  # bytes of a file


@final
@dataclass(frozen=True)
class Given:
    """path: what was written. lost: what other programs will not understand of it."""

    path: Path
    format: str
    bytes: int
    parity: Parity
    lost: tuple[str, ...]
    seconds: float

    def json(self) -> dict[str, Any]:
        """One object."""
        said = {"path": str(self.path), "format": self.format, "type": self.parity.type, "bytes": self.bytes}
        return {**said, "parity": self.parity.json(), "lost": list(self.lost), "seconds": round(self.seconds, 2)}


@final
@dataclass(frozen=True)
class Content:
    """What is written of a run."""

    run: Run
    net: Decoder
    codec: Codec
    kind: str
    config: DecoderConfig
    vocab: int
    licence: str | None

    @property
    def template(self) -> str | None:
        """Of chats."""
        return getattr(self.codec, "template", None)


def give(
    run: Run, form: str, kind: str = "f32", out: Path | None = None, say: Callable[[str], object] = lambda _: None
) -> Given:
    """Export a run. form: hf or gguf; kind: the number format; out: None: RUN-KIND or RUN-KIND.gguf in this folder.

    Raises `UsageError` for a run, a format or a place that will not do, `GenusError` if the export does not behave as
    the run: then nothing is left of it.
    """
    begun = time.perf_counter()
    if form not in TYPES:
        raise UsageError(f"--format {form!r}; choose one of: {', '.join(TYPES)}, peft")
    if kind not in TYPES[form]:
        raise UsageError(f"--type {kind!r} is not written as {form}; choose one of: {', '.join(TYPES[form])}")
    content = content_of(run)
    path = out if out is not None else Path(f"{run.name}-{kind}{'.gguf' if form == 'gguf' else ''}")
    if form == "gguf" and path.suffix != ".gguf":
        raise UsageError(f"{path}: a GGUF is one file; give it a name that ends with .gguf")
    with vacant(path) as made:
        say(f"writing {path}")
        lost = _folder(content, kind, made) if form == "hf" else _file(content, kind, made)
        say("reading it back and comparing")
        parity = compared(content.net, content.codec, opened(made), kind)
        if parity.failed:
            raise GenusError(f"the export does not behave as the run: {'; '.join(parity.failed)}; nothing was written")
        report = made / "parity.json" if form == "hf" else path.with_name(f"{path.stem}.parity.json")
        files.write_json(report, parity.json())
    size = path.stat().st_size if form == "gguf" else sum(p.stat().st_size for p in path.iterdir())
    return Given(path, form, size, parity, tuple(lost), time.perf_counter() - begun)


@contextmanager
def vacant(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, which takes its place at the end; nothing is left of it after an error.

    Raises `UsageError` if something is there already.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UsageError(f"{path} is there already; choose another place with -o, or remove it")
    with files.beside(path, path.suffix if path.suffix == ".gguf" else "") as made:
        yield made
        if path.is_dir():
            path.rmdir()


def content_of(run: Run) -> Content:
    """Raises `UsageError` that says what can be exported."""
    model = run.model()
    net = dict(model.nets.items()).get("net")
    if not isinstance(net, Decoder) or len(model.nets) != 1:
        kinds = ", ".join(config.kind for config in run.phase.nets.values())
        raise UsageError(
            f"run {run.name!r} is of {kinds}, which other programs do not know; runs of networks.decoder can be "
            "exported: imported ones, and those of recipes with that network"
        )
    if net.config.bits is not None:
        made = (run.data.get("compressed") or {}).get("of", "that it was made of")
        raise UsageError(f"run {run.name!r} has weights of {net.config.bits} bits already; export the run {made}")
    if not isinstance(getattr(model.codec, "definition", None), str):
        raise UsageError(
            f"run {run.name!r} reads {run.phase.codec.kind}, which no tokenizer.json says; runs of codecs.bpe and "
            "codecs.published can be exported"
        )
    vocab = net.space.vocab
    assert vocab is not None
    config = net.config.but(begin=net.begin)
    hint = (run.data.get("origin") or {}).get("architecture")
    licences = [name for name in run.data.get("licences") or {} if name not in (None, "", "null")]
    licence = None if len(licences) != 1 else str(licences[0])
    return Content(run, net, model.codec, configs.kind_of(config, hint), config, vocab, licence)


def _pieces(content: Content, names: layout.Names) -> Iterator[tuple[layout.Piece, Tensor]]:
    """All published tensors, one weight of ours at a time."""
    state = content.net.state_dict()
    for weight in layout.weights(content.config, content.vocab, names):
        yield from zip(weight.pieces, weight.theirs(state[weight.name].float()), strict=True)


def _folder(content: Content, kind: str, folder: Path) -> list[str]:
    """A folder of Hugging Face."""
    folder.mkdir(parents=True)
    shards: list[dict[str, Tensor]] = [{}]
    size = total = 0
    for piece, x in _pieces(content, layout.hf(content.kind)):
        x = x.to(DTYPES[kind]).contiguous()
        if size + x.nbytes > SHARD and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][piece.name] = x.clone() if x.is_set_to(content.net.get_parameter("embed.weight")) else x
        size, total = size + x.nbytes, total + x.nbytes
    several = len(shards) > 1
    where: dict[str, str] = {}
    for i, shard in enumerate(shards):
        name = f"model-{i + 1:05}-of-{len(shards):05}.safetensors" if several else SINGLE
        where |= dict.fromkeys(shard, name)
        try:
            save_file(shard, folder / name, {"format": "pt"})
        except SafetensorError as error:  # how it reports a full disk
            raise GenusError(f"cannot write {folder / name}: {error}; free some space") from error
    if several:
        files.write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": where})
    stops = list(content.codec.space.stops)
    ids = {"eos_token_id": stops if len(stops) > 1 else stops[0]}
    published = getattr(content.codec, "config", None)
    bos = content.config.begin if not content.config.apart else getattr(published, "bos", None)
    ids |= {} if bos is None else {"bos_token_id": bos}
    said = configs.to_hf(content.config, content.kind, content.vocab)
    dtype = str(DTYPES[kind]).removeprefix("torch.")
    files.write_json(folder / "config.json", {**said, **ids, "dtype": dtype, "torch_dtype": dtype})
    files.write_json(folder / "generation_config.json", {**ids, **_drawn(content.run)})
    definition, told = vocabulary.to_folder(content.codec, content.config, content.vocab)
    files.write(folder / "tokenizer.json", definition)
    files.write_json(folder / "tokenizer_config.json", {**told, "model_max_length": content.net.space.dims[0]})
    if content.template is not None:
        files.write(folder / TEMPLATE, content.template)
    files.write(folder / "README.md", _card(content, kind))
    return []


def _drawn(run: Run) -> dict[str, Any]:
    """How the run draws, as generation_config.json says it."""
    sampler = run.model().sampler
    if not isinstance(sampler, Tokens) or sampler.temperature == 0:
        return {"do_sample": False}
    said: dict[str, Any] = {"do_sample": True, "temperature": sampler.temperature, "top_p": sampler.top_p}
    said |= {} if sampler.top_k is None else {"top_k": sampler.top_k}
    return said | ({"min_p": sampler.min_p} if sampler.min_p else {})


def _card(content: Content, kind: str) -> str:
    """README.md, with the head that hubs read."""
    run, origin = content.run, content.run.data.get("origin") or {}
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["genus"]}
    head |= {} if content.licence is None else {"license": content.licence.lower()}
    lines = "\n".join(f"{name}: {json.dumps(value)}" for name, value in head.items())
    rows = [
        f"- architecture: {content.kind}, {sum(p.numel() for p in content.net.parameters()):,} parameters, {kind}",
        f"- licence: {content.licence or 'not stated'}",
        f"- made with genus {genus.__version__}, run `{run.name}`, recipe `{run.recipe.name}`",
        f"- window: {content.net.space.dims[0]:,} tokens",
    ]
    if origin:
        rows.append(f"- its weights come from {origin.get('name', 'elsewhere')} ({origin.get('format')})")
    rows.append("- `parity.json` compares this export with the run: logits, perplexity, greedy tokens")
    return f"---\n{lines}\n---\n\n# {run.name}\n\n{run.recipe.about.strip()}\n\n" + "\n".join(rows) + "\n"


def _file(content: Content, kind: str, path: Path) -> list[str]:
    """A GGUF."""
    names = layout.gguf(metadata.GGUF[content.kind])
    values: dict[str, Any] = {"general.type": "model", "general.name": content.run.name}
    values |= {} if content.licence is None else {"general.license": content.licence.lower()}
    values |= {"general.file_type": FILE_TYPES[kind], "general.quantization_version": 2}
    values = metadata.to_gguf(content.config, content.kind, content.vocab) | values
    said, lost = vocabulary.to_gguf(content.codec, content.config, content.vocab)
    heads = [
        (piece.name, piece.shape, _format(piece.name, piece.shape, kind, names))
        for weight in layout.weights(content.config, content.vocab, names)
        for piece in weight.pieces
    ]
    stretch = isinstance(content.config.stretch, Stretch)
    if stretch:
        heads.append(("rope_freqs.weight", (content.config.head // 2,), FORMATS["f32"]))

    def data() -> Iterator[Floats]:
        for _, x in _pieces(content, names):
            yield x.numpy()
        if stretch:
            yield metadata.factors(content.config).numpy()

    gguf.write(path, values | said, heads, data)
    return lost


def _format(name: str, shape: tuple[int, ...], kind: str, names: layout.Names) -> Format:
    """Vectors, learned places and routers stay float32; tables of ids have 8 bits at least."""
    exact = len(shape) < 2 or any(part in name for part in ("position_embd", "ffn_gate_inp"))
    if exact:
        return FORMATS["f32"]
    if kind.startswith("q4") and name.rpartition(".")[0] in (names.of("embed"), names.of("leave")):
        kind = "q8_0"
    while shape[-1] % FORMATS[kind].numbers:
        kind = NEXT[kind]
    return FORMATS[kind]
