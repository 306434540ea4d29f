"""What is measured: a model, the items it has never seen, the items it learned from, and what it makes.

Samples are drawn once and shared by all measures. Items are chosen by their ids, which are hashes, so the choice is
random yet the same every time, whatever the order of the dataset. Not here: what is then computed from them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from genus.core import Batch, Model, Noise
from genus.data.dataset import Dataset, Record
from genus.data.source import SourceConfig
from genus.dialogue import Message
from genus.errors import UsageError
from genus.run import Run, in_memory
from genus.samplers.thinking import Thinking
from genus.validate.features import WIDTH, Features, features, remembered
from genus.watch import Silent, Watch

HELD = "test"
QUIET = Silent()
BLOCK = 1000  # pictures whose features are kept in one file


@final
@dataclass(frozen=True)
class Subject:
    """records(split): the kept items of a split, decoded, from the beginning. held: the split no training step has
    read.

    key: stands for the data in the names of cached features, which lie in `home` (None: nowhere). before: the folder of
    the model that the last phase began from, None if it began anew. earlier: those of all phases before the last.
    """

    model: Model
    source: SourceConfig
    medium: str
    records: Callable[[str], Iterator[Record]]
    held: str = HELD
    key: str = ""
    home: Path | None = None
    before: Path | None = None
    earlier: Mapping[str, Path] = field(default_factory=dict)
    most: int = 1000  # samples that any measure may ask for
    seed: int = 0
    batch: int = 50
    watch: Watch = field(default_factory=Silent)
    _made: list[Any] = field(default_factory=list, repr=False)
    _features: dict[Any, Features] = field(default_factory=dict, repr=False)
    _picked: dict[Any, list[Record]] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(run: Run, most: int = 1000, watch: Watch | None = None) -> Subject:
        """A finished run's model and data. Raises `UsageError` if nothing was held out."""
        data: Dataset = run.dataset()
        held = next((s for s in (HELD, "val") if data.count(f"status = 'kept' AND split = '{s}'")), None)
        if held is None:
            raise UsageError(
                f"{data.path} holds nothing out (its test and val splits are empty), so nothing can be measured; "
                "collect more items"
            )
        home = data.path.with_name(f"{data.path.name}.cache")
        return Subject(
            run.model(),
            run.source,
            run.medium,
            data.media,
            held,
            run.data["digest"],
            home,
            begun_from(run),
            earlier(run),
            most,
            watch=watch or Silent(),
        )

    def samples(self, n: int) -> list[Any]:
        """What the model makes, at most `most`; sample i is the same however many were asked for.

        A conditional model is given the fields of held-out items in turn, so that it is asked for what there is.
        """
        n = min(n, self.most)
        while len(self._made) < n:
            start = len(self._made)
            self._made.extend(self.draw(range(start, min(start + self.batch, n))))
            self.watch.tick(len(self._made), n, "samples")
        return self._made[:n]

    def draw(self, indices: Sequence[int], **knobs: Any) -> list[Any]:
        """These samples, as `samples` asks for them, with knobs of the sampler; not remembered."""
        return self.model.generate(Noise(self.seed, tuple(indices)), self.asked(indices), **knobs)

    def asked(self, indices: Sequence[int]) -> dict[str, list[Any]] | None:
        """The fields that these samples are asked for with; None where nothing is conditioned."""
        held = self.held_out(self.most) if self.model.conditioner is not None else []
        return columns([held[i % len(held)].fields for i in indices]) if held else None

    def held_out(self, n: int) -> list[Record]:
        """`n` held-out items, or all there are."""
        return self._pick(self.held, n)

    def trained(self, n: int) -> list[Record]:
        """`n` training items, or all there are."""
        return self._pick("train", n)

    def _pick(self, split: str, n: int) -> list[Record]:
        if (split, n) not in self._picked:
            self._picked[split, n] = heapq.nsmallest(n, self.records(split), key=lambda record: record.id)
        return self._picked[split, n]

    def nats(self, records: Sequence[Record], batch: int = 16) -> tuple[NDArray[np.float64], bool]:
        """-log p of each item, and whether it is exact or an upper bound. Raises `NoLikelihood` with the reason."""
        self.model.nets.eval()
        return scored(self.model, self.source, records, batch, self.seed, self.watch)

    def windows(self, record: Record, batch: int = 16) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """One item in the pieces that its likelihood is summed over: -log p of each, and how many cells it counts."""
        self.model.nets.eval()
        with torch.inference_mode():
            found = [(part, nats) for part, nats, _ in parts(self.model, self.source, [record], batch, self.seed)]
        counted = [
            np.ones(len(part)) if part.mask is None else part.mask.flatten(1).sum(1).double().numpy()
            for part, _ in found
        ]
        return np.concatenate([nats for _, nats in found]), np.concatenate(counted)

    def answers(self, asked: Sequence[Sequence[Message]], tokens: int = 200, **knobs: Any) -> list[str]:
        """What the model answers to each conversation; the i-th is drawn as sample i."""
        return answers(self.model, asked, tokens, 0, self.seed, self.batch, self.watch, **knobs)

    def featured(self, pictures: Sequence[Any], name: str) -> Features:
        """[n, features] of pictures; name: for the watcher."""
        return features(pictures, progress=lambda i, n: self.watch.tick(i, n, f"features of {name}"))

    def sample_features(self, n: int) -> Features:
        """Of the first `n` samples."""
        n = min(n, self.most)
        if len(self._features.get("samples", ())) < n:
            self._features["samples"] = self.featured(self.samples(n), "samples")
        return self._features["samples"][:n]

    def item_features(self, split: str, n: int) -> Features:
        """Of the first `n` items that a split is read by, or of all; remembered beside the dataset in blocks."""
        records = self._pick(split, n)
        blocks = [self._block(split, records[i : i + BLOCK], i) for i in range(0, len(records), BLOCK)]
        return np.concatenate(blocks) if blocks else np.zeros((0, WIDTH), np.float32)

    def _block(self, split: str, records: list[Record], start: int) -> Features:
        def make() -> Features:
            return self.featured(self.seen(records), f"{split} pictures {start:,} to {start + len(records):,}")

        at = (split, start, len(records))
        if at not in self._features:
            key = f"{self.key}/{self.seen(records[:1])[0].shape}/{at}"
            home = self.home
            self._features[at] = make() if home is None else remembered(home / "features", key, make)
        return self._features[at]

    def seen(self, records: Sequence[Record]) -> list[Any]:
        """Pictures as the model could at best give them: at its own size and mode, where theirs is another."""
        return self.model.codec.like([record.media for record in records])


def scored(
    model: Model, source: SourceConfig, records: Sequence[Record], batch: int = 16, seed: int = 0, watch: Watch = QUIET
) -> tuple[NDArray[np.float64], bool]:
    """-log p of each item by any model, as `source` counts it. See `Subject.nats`."""
    totals = np.zeros(len(records))
    exact = True
    with torch.inference_mode():
        for part, nats, precise in parts(model, source, records, batch, seed):
            exact &= precise
            np.add.at(totals, [int(i) for i in part.ids], nats)
            watch.tick(int(part.ids[-1]) + 1, len(records), "likelihood")
    return totals, exact


def parts(
    model: Model, source: SourceConfig, records: Sequence[Record], batch: int, seed: int
) -> Iterator[tuple[Batch, NDArray[np.float64], bool]]:
    """Items in the pieces that `source` counts them by: (a batch of pieces, -log p of each, whether that is exact)."""
    cache = in_memory(model.codec, [record.media for record in records], source)
    cache = replace(cache, fields=columns([record.fields for record in records]))
    done = 0
    for part in source.once(cache, model.codec, batch):
        said = model.log_prob(part, Noise(seed, tuple(range(done, done + len(part)))))
        yield part, -said.nats.double().numpy(), said.exact
        done += len(part)


def answers(
    model: Model,
    asked: Sequence[Sequence[Message]],
    tokens: int = 200,
    first: int = 0,
    seed: int = 0,
    batch: int = 50,
    watch: Watch = QUIET,
    thinking: int | None = None,
    **knobs: Any,
) -> list[str]:
    """What any model answers to each conversation; the i-th is drawn as sample `first` + i of a seed.

    thinking: ids of a thought at most; None: as many as it likes.
    """
    found: list[str] = []
    ruled = None if thinking is None else Thinking(model.codec, thinking).rule
    for start in range(0, len(asked), batch):
        some = asked[start : start + batch]
        noise = Noise(seed).child("answers").of(range(first + start, first + start + len(some)))
        found += model.said(*model.answers(noise, some, tokens, ruled, **knobs))
        watch.tick(len(found), len(asked), "answers")
    return found


def begun_from(run: Run) -> Path | None:
    """The folder of the model that a run's last phase began from, if it is there."""
    name = run.recipe.phases[-1].start
    return None if name is None else earlier(run).get(name)


def earlier(run: Run) -> dict[str, Path]:
    """The folders of the models of a run's earlier phases, trained in it or elsewhere: those that are there."""
    own = {phase.name: run.path / "phases" / phase.name for phase in run.recipe.phases[:-1]}
    given = {name: Path(place) for name, place in run.recipe.given.items()}
    return {name: place for name, place in (own | given).items() if (place / "config.json").is_file()}


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Fields of each record as one list a field; what a record lacks is None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
