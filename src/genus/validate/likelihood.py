"""How well held-out items are predicted, in bits per byte of text: beside compressors and counts of five bytes.

Cross-entropy in any tokenizer's units is bits per token / bytes per token, so bits per byte compares all models of one
text. The text is what the model saw: as cleaned. A document's end mark is paid for and adds no byte, by the model and
by the n-gram alike. Baselines compress or count what the table says; see `ngram` and `compressors`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, final

import numpy as np
from pydantic import Field

from genus.core import Codec, Space
from genus.data.dataset import Record
from genus.errors import NoLikelihood
from genus.validate import compressors, ngram
from genus.validate.findings import Finding, Measure, Result, ratio
from genus.validate.subject import Subject

LN2 = math.log(2)
FEW = 20  # documents


@final
class Likelihood(Measure):
    """held: bytes of held-out text to score; counted, primed: bytes of training text the n-gram and xz are given."""

    kind: Literal["validate.likelihood"] = "validate.likelihood"
    held: int = Field(300_000, gt=0)
    items: int = Field(1000, gt=0)
    order: int = Field(5, ge=1, le=7)
    counted: int = Field(8 << 20, gt=0)
    primed: int = Field(1 << 20, ge=0)
    batch: int = Field(16, gt=0)

    def __call__(self, subject: Subject) -> Result:
        """Bits per byte (text), bits or nats per dimension or code (all else), with a bootstrap interval over items."""
        records = subject.held_out(self.items)
        if records and isinstance(records[0].media, str):
            records = list(within(records, self.held))
        try:
            nats, exact = subject.nats(records, self.batch)
        except NoLikelihood as error:
            return Result(notes=(f"No likelihood: {error}.",))
        notes = () if exact else ("The likelihood is a bound: the model may be better than it says.",)
        if not isinstance(records[0].media, str):
            return Result((self._per_dimension(subject, nats),), notes=notes)
        texts = [encoded(record) for record in records]
        sizes = [len(t) for t in texts]
        value, low, high = ratio(nats / LN2, sizes)
        if len(texts) == 1:  # one long text has no others to draw; its windows are all there is
            each, cells = subject.windows(records[0], self.batch)
            _, low, high = ratio(each / LN2, cells * (sizes[0] / cells.sum()))
        metric = Finding("bits_per_byte", value, low, high, "bits/byte", "lower", subject.held)
        baselines, said = self._baselines(subject, texts)
        codec = subject.model.codec
        per = f", {sum(sizes) / max(1, tokens(codec, records)):.2f} a token" if codec.streams else ""
        seen = f"Likelihood on {len(texts):,} held-out documents, {sum(sizes):,} bytes{per}."
        if len(texts) == 1:
            seen += " The interval is over its windows: it does not tell how another document would fare."
        elif len(texts) < FEW:
            seen += f" An interval from fewer than {FEW} documents is rough."
        return Result((metric,), baselines, notes=(seen, *said, *notes))

    def _per_dimension(self, subject: Subject, nats: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Finding:
        space, codec = subject.model.space, subject.model.codec
        counted = space.vocab is not None or space.grain is not None
        # A density depends on the scale of x, and a code is not the item: both compare models of one codec only.
        unit, of = ("bits", LN2) if counted else ("nats", 1.0)
        value, low, high = ratio(nats / of, np.full(len(nats), float(space.cells)))
        cell = "code" if codec.coded else "dimension"
        said = f"{unit}/{cell}{coarser(space)}" if counted else f"{unit}/{cell}, of a density"
        return Finding(f"{unit}_per_{cell}", value, low, high, said, "lower", subject.held)

    def _baselines(self, subject: Subject, texts: list[bytes]) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
        joined = b"".join(texts)
        if not joined:
            return (), ()

        def finding(name: str, value: float, low: float | None = None, high: float | None = None) -> Finding:
            return Finding(f"bits_per_byte/{name}", value, low, high, "bits/byte", "lower", subject.held)

        train = [encoded(record) for record in within(subject.records("train"), self.counted)]
        counts = ngram.count(train, self.order)
        found = [finding(f"ngram{self.order}", *ratio(counts.all_nats(texts) / LN2, [len(t) for t in texts]))]
        found.append(finding("gzip", 8 * compressors.with_gzip(joined) / len(joined)))
        found.append(finding("xz", 8 * compressors.with_xz(joined) / len(joined)))
        given = sum(map(len, train))
        notes = [f"The n-gram counted {given:,} bytes of training text; gzip -9 and xz saw only the held-out text."]
        if self.primed:
            prefix = b"".join(train)[: self.primed]
            size = compressors.primed(joined, prefix)
            found.append(finding("xz_primed", 8 * size / len(joined)))
            notes.append(f"xz_primed was first shown {len(prefix):,} bytes of training text.")
        return tuple(found), tuple(notes)


def coarser(space: Space) -> str:
    """What is said of bits that are few because values were rounded first; nothing of bytes, the usual case."""
    return f" of {space.levels} levels" if space.levels is not None and space.levels < 256 else ""


def tokens(codec: Codec, records: Sequence[Record]) -> int:
    """Of these texts, without their end marks; codec: of a stream."""
    return sum(x.shape[1] - 1 for x in codec.encode([record.media for record in records]))


def encoded(record: Record) -> bytes:
    """A text as the bytes that are counted."""
    return str(record.media).encode("utf-8", "replace")


def within(records: Iterable[Record], most: int) -> Iterable[Record]:
    """Items from the front until there are `most` bytes; at least one, and only whole ones."""
    used = 0
    for i, record in enumerate(records):
        used += len(encoded(record))
        if i and used > most:
            return
        yield record
