"""Does the model repeat what it learned from? For text word for word, for pictures by nearness in feature space.

Both rates stand beside the same rate of held-out items, which no model has copied: real data repeats itself (licences,
verses, flags), and only what exceeds that is the model's doing. A rate of nearly nothing is no proof of privacy: only
samples drawn here are judged. Carlini et al. 2021, arXiv 2012.07805; pictures: Carlini et al. 2023, arXiv 2301.13188,
section 4, whose ratio of the nearest distance to those of further neighbours is used in feature space.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from genus.data.dataset import Record
from genus.validate import show
from genus.validate.distances import nearest
from genus.validate.findings import Figure, Finding, Measure, Result, share
from genus.validate.subject import Subject
from genus.validate.verbatim import Overlap, overlaps

COPIES = "copies"


@final
class Verbatim(Measure):
    """samples: texts to draw. window: bytes in a row that make a copy. shown: of the longest."""

    kind: Literal["validate.memorisation.verbatim"] = "validate.memorisation.verbatim"
    samples: int = Field(100, ge=1)
    window: int = Field(50, ge=8)
    shown: int = Field(3, ge=0)

    def __call__(self, subject: Subject) -> Result:
        """The share of samples with a verbatim copy, and that of held-out beginnings of the same lengths."""
        made = [str(text) for text in subject.samples(self.samples)]
        texts = [text.encode("utf-8", "replace") for text in made]
        held = [str(record.media).encode("utf-8", "replace") for record in subject.held_out(10 * len(texts))]
        # A longer text has more room for a copy: held-out documents are cut as the samples are.
        pieces = [document[: len(texts[i % len(texts)])] for i, document in enumerate(held)]
        origins: list[str] = []

        found = overlaps([*texts, *pieces], _bytes(subject, origins), self.window)
        own, base = found[: len(texts)], found[len(texts) :]
        unit = f"share with {self.window} bytes in a row of training text"
        metrics = (
            Finding(COPIES, *share([f.length > 0 for f in own]), unit, "lower", "samples"),
            Finding("longest_copy", float(max(f.length for f in own)), unit="bytes", split="samples"),
        )
        baselines = (
            Finding(f"{COPIES}/held_out", *share([f.length > 0 for f in base]), unit, "lower", subject.held),
            Finding("longest_copy/held_out", float(max(f.length for f in base)), unit="bytes", split=subject.held),
        )
        return Result(metrics, baselines, self._figures(made, texts, own, origins))

    def _figures(
        self, made: list[str], texts: list[bytes], found: list[Overlap], origins: list[str]
    ) -> tuple[Figure, ...]:
        order = sorted(range(len(found)), key=lambda i: -found[i].length)[: self.shown]
        blocks = []
        for i in order:
            overlap, data = found[i], texts[i]
            if not overlap.length:
                continue
            start = len(data[: overlap.start].decode("utf-8", "ignore"))
            stop = len(data[: overlap.start + overlap.length].decode("utf-8", "ignore"))
            said = f"sample {i}: {overlap.length} bytes, first seen in {escape(origins[overlap.source])}"
            blocks.append(f'<p class="said">{said}</p>{show.text(made[i], (start, stop))}')
        html = (
            "".join(blocks) or f'<p class="said">No sample has {self.window} bytes in a row of a training document.</p>'
        )
        caption = f"The longest verbatim copies among {len(found)} samples; what training has word for word is marked."
        return (Figure("Nearest training text", caption, html),)


def _bytes(subject: Subject, origins: list[str]) -> Iterator[bytes]:
    """Training texts, their origins noted as they pass."""
    for record in subject.records("train"):
        origins.append(str(record.fields.get("origin") or record.id))
        yield str(record.media).encode("utf-8", "replace")


@final
class Nearest(Measure):
    """samples: to judge. reference: training pictures to judge against, by random choice if there are more.

    A sample is a copy if its nearest training picture is much nearer than the next ones: if the ratio of the first
    distance to the mean of the following `neighbours` is below that of all but `strict` of held-out pictures.
    """

    kind: Literal["validate.memorisation.nearest"] = "validate.memorisation.nearest"
    samples: int = Field(1000, ge=1)
    reference: int = Field(10_000, ge=2)
    neighbours: int = Field(50, ge=1)
    strict: float = Field(0.01, gt=0, lt=1)
    shown: int = Field(8, ge=0)

    def __call__(self, subject: Subject) -> Result:
        """The share of samples that are copies, and that of held-out pictures."""
        train = subject.trained(self.reference)
        known = subject.item_features("train", len(train))
        held = subject.item_features(subject.held, self.samples)
        made = subject.sample_features(self.samples)
        base, _ = self._ratios(held, known)
        own, who = self._ratios(made, known)
        line = float(np.quantile(base, self.strict, method="lower"))
        unit = "share that stand out as near to one training picture"
        metric = Finding(COPIES, *share(own <= line), unit, "lower", "samples")
        baseline = Finding(f"{COPIES}/held_out", *share(base <= line), unit, "lower", subject.held)
        note = f"Copies were looked for among {len(train):,} training pictures."
        return Result((metric,), (baseline,), self._figures(subject, train, own, who), (note,))

    def _ratios(
        self, items: NDArray[np.float32], known: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        far, who = nearest(items, known, self.neighbours + 1)
        rest = far[:, 1:].mean(1) if far.shape[1] > 1 else far[:, 0]
        return far[:, 0] / np.maximum(rest, 1e-12), who

    def _figures(
        self, subject: Subject, train: list[Record], ratios: NDArray[np.float64], who: NDArray[np.int64]
    ) -> tuple[Figure, ...]:
        made = subject.samples(self.samples)
        rows = []
        for i in np.argsort(ratios, kind="stable")[: self.shown]:
            near = subject.seen([train[j] for j in who[i, :5]])
            cells = "".join(
                show.picture(x, train[j].fields.get("origin") or "") for x, j in zip(near, who[i], strict=False)
            )
            rows.append(f'<div class="pair">{show.picture(made[i], f"sample {i}")}<span></span>{cells}</div>')
        caption = (
            "The samples nearest to a single training picture (left), each with its five nearest training pictures."
        )
        return (Figure("Nearest training pictures", caption, f'<div class="pairs">{"".join(rows)}</div>'),)
