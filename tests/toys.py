"""Tiny phases, data and loops that train in a second: the two cells of the product, one of text, one of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genus.codecs.bytes import Bytes, BytesConfig
from genus.codecs.pixels import PixelsConfig
from genus.conditions.label import LabelConfig
from genus.core import Batch, Codec
from genus.data.cache import Cache
from genus.data.dataset import Dataset, Item
from genus.data.packed import PackedConfig
from genus.data.stacked import StackedConfig
from genus.dialogue import Message, written
from genus.media import MEDIA
from genus.networks.convolutional import ConvolutionalConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.objectives.flow import Flow
from genus.parts import Part
from genus.recipe import Phase, Recipe, Training
from genus.run import assemble, in_memory
from genus.train.loop import Loop
from genus.train.meter import Meter
from genus.train.pace import Pace
from genus.watch import Silent

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "red", "ball", "of", "wool"]
LABELS = (("dark", 20), ("light", 20))


class Free(Part):
    """A gate that judges nothing."""

    kind: str = "validate.test_free"


def training(**changes: Any) -> Training:
    settings = {"batch": 8, "precision": "fp32", "compile": "no", "evaluations": 4, "rate": 3e-3}
    return Training(**{**settings, **changes})


def text_phase(**changes: Any) -> Phase:
    return Phase(
        name="pretrain",
        codec=BytesConfig(),
        nets={"net": TransformerConfig(depth=2, width=32, head=16, dropout=changes.pop("dropout", 0.0))},
        objective=Autoregression(),
        source=PackedConfig(window=24),
        training=training(**changes),
    )


def image_phase(labels: tuple[tuple[str, int], ...] | None = LABELS, **changes: Any) -> Phase:
    return Phase(
        name="flow",
        codec=PixelsConfig(height=8, width=8, channels=1),
        nets={"net": ConvolutionalConfig(widths=(8, 16), down=(1, 1), up=(1, 0), attention=1, head=8)},
        conditioner=LabelConfig(labels=labels, width=8),
        objective=Flow(),
        source=StackedConfig(),
        training=training(**{"ema": 0.1, **changes}),
    )


def texts(n: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(4, 30))) + f" {i}." for i in range(n)]


def talks(n: int, seed: int = 0) -> list[str]:
    """Conversations: say a word again. Each also holds a worse answer."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(n):
        asked, other = draw.choice(WORDS, 2, replace=False)
        messages = [Message("user", f"say {asked} {i}"), Message("assistant", f"{asked} {asked}.")]
        made.append(written([*messages, Message("rejected", f"{other}, no.")]))
    return made


class Templated:
    """A codec of bytes with a template: role, colon, text, and a mark after every message."""

    space = Bytes.space
    streams, converses = True, True

    def __init__(self, rewrites=False):
        self.rewrites = rewrites

    def encode(self, media):
        return Bytes().encode(media)

    def lift(self, stored):
        return stored.long()

    def conversation(self, messages, reply=True, **more):
        ids = []
        for i, message in enumerate(messages):
            last = i == len(messages) - 1
            text = message["content"] if last or not self.rewrites else "..."
            ids += [*f"{message['role'][0]}:{text}".encode(), Bytes.space.stops[0], 10]
        return [*ids, *b"a:"] if reply else ids


def pictures(n: int, seed: int = 0, size: tuple[int, int, int] = (8, 8, 1)) -> list[Any]:
    """A soft edge at a random place, dark on the left (even ones) or light."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(n):
        edge = np.clip((np.arange(size[1]) - draw.uniform(1, size[1] - 1)) * 0.7, -1, 1) * (1 if i % 2 else -1)
        noise = draw.normal(0, 0.1, size)
        made.append(np.clip((edge[None, :, None] + noise + 1.2) * 105, 0, 255).astype(np.uint8))
    return made


def labels(n: int) -> list[str]:
    return ["light" if i % 2 else "dark" for i in range(n)]


def data(phase: Phase, n: int = 40) -> tuple[Codec, Cache]:
    """The codec of a phase, and `n` items encoded."""
    codec = phase.codec.load(Path())
    if codec.streams:
        return codec, in_memory(codec, texts(n))
    cache = in_memory(codec, pictures(n))
    return codec, Cache(cache.cells, False, cache.ids, cache.starts, {"label": labels(n)})


def loop(phase: Phase, folder: Path, steps: int = 20, **changes: Any) -> Loop:
    """A loop of so many steps over in-memory data."""
    codec, cache = data(phase)
    source = phase.source
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(phase.training.seed)

    def held() -> Iterator[Batch]:
        return source.once(data(phase, 6)[1], codec, 4)

    settings = {
        "name": phase.name,
        "model": assemble(phase, codec, "prefix"),
        "training": phase.training,
        "source": source.over(cache, codec, phase.training.seed, phase.training.batch),
        "evaluation": held,
        "pace": Pace(steps, timed=False),
        "precision": torch.float32,
        "folder": folder,
        "meter": Meter(),
        "watch": Silent(),
        "loss": phase.objective.loss,
    }
    return Loop(**{**settings, **changes})


def recipe(phase: Phase, **changes: Any) -> Recipe:
    text = phase.codec.kind != "codecs.pixels"
    settings = {
        "name": "toy",
        "about": "a toy",
        "family": "autoregression" if text else "flow",
        "media": ("text",) if text else ("image",),
        "prompt": "prefix" if text else "label",
        "phases": (phase,),
        "measures": (),
        "gate": Free(),
    }
    return Recipe(**{**settings, **changes})


def dataset(path: Path, medium: str = "text", n: int = 60, talking: bool = False) -> Dataset:
    """A collected dataset, without collecting. talking: of its texts, every other one is a conversation."""
    write = MEDIA[medium].write
    media = pictures(n) if medium == "image" else texts(n)
    if talking:
        media[::2] = talks(n)[::2]
    names = labels(n) if medium == "image" else [None] * n
    said = zip(media, names, strict=True)
    items = [Item(origin=f"{i}", medium=medium, content=write(m), label=l) for i, (m, l) in enumerate(said)]
    made = Dataset.create(path)
    made.append(items)
    return made


def rows(folder: Path) -> list[dict[str, Any]]:
    """Of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Ear:
    """A watch that remembers what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, name: str, about: str = "") -> None: ...

    def tick(self, done: float, total: float | None = None, note: str = "") -> None: ...

    def say(self, line: str) -> None:
        self.said.append(line)
