"""Models that do one thing only, over real datasets: what each measure must catch is known beforehand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import nn

from genus.codecs.bytes import Bytes
from genus.codecs.pixels import Pixels
from genus.core import Batch, LogProb, Noise, Space
from genus.data.dataset import Dataset, Item, Record
from genus.data.packed import PackedConfig
from genus.data.stacked import StackedConfig
from genus.errors import NoLikelihood
from genus.media import MEDIA
from genus.validate.subject import Subject

Make = Callable[[int], Any]  # the index of a sample -> media


class Uniform:
    """Every cell has the same probability, 1 / vocab."""

    def __init__(self, vocab: int) -> None:
        self.vocab = vocab

    def log_prob(self, nets: Any, batch: Batch, noise: Noise) -> LogProb:
        assert batch.mask is not None
        return LogProb(-batch.mask.flatten(1).sum(1).double() * math.log(self.vocab), exact=True)


class Silent:
    """A family without likelihood."""

    def log_prob(self, nets: Any, batch: Batch, noise: Noise) -> LogProb:
        raise NoLikelihood("toys only draw")


class Toy:
    """A model that makes `make(i)`."""

    def __init__(self, make: Make, codec: Any, objective: Any, conditioner: Any = None) -> None:
        self.make, self.codec, self.objective, self.conditioner = make, codec, objective, conditioner
        self.space: Space = codec.space
        self.nets = nn.ModuleDict()
        self.asked: list[Any] = []

    def generate(self, noise: Noise, fields: Any = None) -> list[Any]:
        self.asked.append((noise.samples, fields))
        return [self.make(i) for i in noise.samples]

    def log_prob(self, batch: Batch, noise: Noise) -> LogProb:
        found: LogProb = self.objective.log_prob(self.nets, batch, noise)
        return found


def prose(seed: int, words: int = 120) -> str:
    """Text with some order in it: words of a small vocabulary, each with few followers."""
    rng = np.random.default_rng(seed)
    vocabulary = ["".join(chr(97 + (i * 7 + k * 11) % 26) for k in range(3 + i % 5)) for i in range(60)]
    word, out = int(rng.integers(60)), []
    for _ in range(words):
        out.append(vocabulary[word])
        word = (word * 3 + int(rng.integers(4))) % 60
    return " ".join(out) + ".\n"


def drawing(seed: int, side: int = 12) -> np.ndarray:
    """A bright disc somewhere on a dark ground: two-dimensional order that no pixel has by itself."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    (cx, cy), r = rng.uniform(3, side - 3, 2), rng.uniform(1.5, 3.5)
    disc = np.clip(255 * (r + 0.5 - np.hypot(x - cx, y - cy)), 0, 255)
    return np.clip(disc + rng.normal(20, 8, disc.shape), 0, 255).astype(np.uint8)[:, :, None]


def text_subject(make: Make, train: Sequence[str], test: Sequence[str], **more: Any) -> Subject:
    model: Any = Toy(make, Bytes(), more.pop("objective", Uniform(257)))
    return Subject(model, PackedConfig(window=64), "text", _splits(train, test), **more)


def picture_subject(make: Make, train: Sequence[Any], test: Sequence[Any], **more: Any) -> Subject:
    h, w, c = train[0].shape
    model: Any = Toy(make, Pixels(h, w, c), Silent())
    return Subject(model, StackedConfig(), "image", _splits(train, test), **more)


def _splits(train: Sequence[Any], test: Sequence[Any]) -> Callable[[str], Iterator[Record]]:
    def records(split: str) -> Iterator[Record]:
        for i, media in enumerate({"train": train, "test": test}[split]):
            yield Record(f"{i:032x}", media, {"origin": f"{split}/{i}", "label": str(i % 3)})

    return records


def run(folder: Path, model: Any, source: Any, medium: str, splits: dict[str, Sequence[Any]], recipe: Any) -> Any:
    """A finished run as far as validate reads it, over a real dataset."""
    data = Dataset.create(folder / "datasets" / "toy")
    data.append(
        Item(f"{split}/{i}", medium=medium, content=MEDIA[medium].write(media), declared=split, licence="CC0-1.0")
        for split, items in splits.items()
        for i, media in enumerate(items)
    )
    data.append([Item("bad/0", medium=medium, status="quarantined", reason="truncated <b>file</b>")])
    path = folder / "runs" / "toy"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "environment.json").write_text(json.dumps({"python": "3", "versions": {"genus": "0"}}))
    rows = [{"phase": "p", "step": s, "split": "train", "loss": 5 / (1 + s / 40)} for s in range(1, 400, 4)]
    rows += [{"phase": "p", "step": s, "split": "val", "loss": 0.2 + 5 / (1 + s / 40)} for s in range(20, 400, 20)]
    facts = {"path": str(data.path), "version": data.version, "digest": data.digest(), "medium": medium}
    facts |= {"items": sum(map(len, splits.values())), "bytes": 12345, "licences": {"CC0-1.0": 3}, "splits": {}}
    summary = {
        "parameters": 1_234_567,
        "steps": 400,
        "seconds": 61.0,
        "asked_s": 60.0,
        "forecast_s": 58.0,
        "kwh": 0.0011,
    }
    return SimpleNamespace(
        path=path,
        name="toy",
        medium=medium,
        data=facts,
        recipe=recipe,
        source=source,
        summary=summary | {"kwh_method": "assumed 40 W", "peak_bytes": 2**30},
        finished=True,
        dataset=lambda: Dataset.open(data.path, facts["version"]),
        model=lambda: model,
        metrics=lambda: rows,
    )


def recipe(*measures: Any, gate: Any) -> Any:
    return SimpleNamespace(
        name="toy",
        about="A toy.",
        family="flow",
        measures=measures,
        gate=gate,
        phases=(SimpleNamespace(start=None),),
        given={},
        model_dump=lambda mode: {"name": "toy <script>"},
    )
