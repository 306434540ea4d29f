"""What a phase learns from: the kept rows of a dataset, encoded once per codec and cached beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

from genus.core import Codec, ConditionerConfig
from genus.data.cache import Cache, Encodable, encoded
from genus.data.dataset import Dataset
from genus.data.source import SourceConfig
from genus.parts import Part


@final
@dataclass(frozen=True)
class Corpus:
    """A dataset at one version; `digest` stands for its content in the keys of caches."""

    dataset: Dataset
    digest: str

    def media(self) -> Iterator[Any]:
        """Training items, decoded."""
        return (record.media for record in self.dataset.media("train"))

    def fields(self) -> Iterator[Mapping[str, Any]]:
        """What is said of the training items, without reading them."""
        rows = self.dataset.scan(["label", "caption", "fields"], "status = 'kept' AND split = 'train'")
        for batch in rows:
            for row in batch.to_pylist():
                yield {**json.loads(row["fields"]), "label": row["label"], "caption": row["caption"]}

    def cache(
        self,
        split: str,
        codec: Codec,
        config: Part,
        conditioner: ConditionerConfig | None,
        source: SourceConfig,
        tick: Callable[[int], None] | None = None,
    ) -> Cache:
        """The split as `source` encodes it by `codec` (resolved: `config`), and what its conditioner reads."""
        reads = () if conditioner is None else conditioner.reads

        def records() -> Iterator[Encodable]:
            for record in self.dataset.media(split):
                fields = {name: record.fields.get(name) for name in reads}
                yield record.id, record.media, fields if conditioner is None else conditioner.admit(fields)

        known = None if conditioner is None or split == "train" else conditioner.model_dump(mode="json")
        way = [config.model_dump(mode="json"), _extra(codec), source.reading]
        key = json.dumps([self.digest, split, *way, reads, known, self.dataset.shows])
        return encoded(self.home, key, codec, records, tick, partial(source.encode, codec))

    @property
    def home(self) -> Path:
        """Where the caches lie."""
        return self.dataset.path.with_name(f"{self.dataset.path.name}.cache")


def _extra(codec: Codec) -> str:
    """What tells two codecs of one configuration apart: a trained vocabulary."""
    return str(getattr(codec, "definition", ""))
