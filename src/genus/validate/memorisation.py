"""Does the model repeat what it learned from? For text word for word, for pictures by how near one training item is.

Both rates stand beside the same rate of held-out items, which no model has copied: real data repeats itself (licences,
verses, flags), and only what exceeds that is the model's doing. A rate of nearly nothing is no proof of privacy: only
samples drawn here are judged. Carlini et al. 2021, arXiv 2012.07805; pictures: Carlini et al. 2023, arXiv 2301.13188,
whose ratio of the nearest distance to those of further neighbours is used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import islice
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from genus.validate import show
from genus.validate.distances import Floats, nearest
from genus.validate.features import flat
from genus.validate.findings import Figure, Finding, Measure, Result, share
from genus.validate.subject import Subject
from genus.validate.verbatim import Overlap, overlaps

COPIES = "copies"
NEAREST = "nearest_item"


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
    """samples: to judge, against all training pictures, in pixels of at most `side` a side.

    A sample is a copy if its nearest training picture is much nearer than the next ones: if the ratio of the first
    distance to the mean of the following `neighbours` is below that of all but `strict` of held-out pictures. shown:
    of the most suspicious, each with the pictures that are nearest in feature space among its neighbours in pixels.
    """

    kind: Literal["validate.memorisation.nearest"] = "validate.memorisation.nearest"
    samples: int = Field(1000, ge=1)
    side: int = Field(32, ge=4)
    neighbours: int = Field(50, ge=1)
    strict: float = Field(0.01, gt=0, lt=1)
    shown: int = Field(8, ge=0)

    def __call__(self, subject: Subject) -> Result:
        """The share of samples that are copies and how far the nearest training picture is; both for held-out ones."""
        made = subject.samples(self.samples)
        held = subject.seen(subject.held_out(self.samples))
        points = self._points([*made, *held])
        far, who, known = self._search(subject, points)
        ratios = far[:, 0] / np.maximum(far[:, 1:].mean(1) if far.shape[1] > 1 else far[:, 0], 1e-9)
        own, base = ratios[: len(made)], ratios[len(made) :]
        line = float(np.quantile(base, self.strict, method="lower"))
        unit = "share that stand out as near to one training picture"
        metric = Finding(COPIES, *share(own <= line), unit, "lower", "samples")
        baseline = Finding(f"{COPIES}/held_out", *share(base <= line), unit, "lower", subject.held)
        reach = far[:, 0] / np.sqrt(points.shape[1])
        way = "root mean square of pixel values, 0 to 1"
        near = Finding(NEAREST, *share(reach[: len(made)]), way, "higher", "samples")
        near_held = Finding(f"{NEAREST}/held_out", *share(reach[len(made) :]), way, "higher", subject.held)
        note = f"Copies were looked for among all {known:,} training pictures, at {self.side} pixels a side at most."
        return Result((metric, near), (baseline, near_held), self._figures(subject, made, own, who), (note,))

    def _points(self, pictures: Sequence[Any]) -> NDArray[np.float32]:
        """[n, pixels]: three channels on white, made small."""
        rows = []
        for picture in pictures:
            x = flat(picture)
            image = Image.fromarray(np.broadcast_to(x, (*x.shape[:2], 3)))
            size = min(self.side, x.shape[1]), min(self.side, x.shape[0])
            small = image if size == image.size else image.resize(size, Image.Resampling.BOX)
            rows.append(np.asarray(small, np.float32).ravel() / 255)
        return np.stack(rows)

    def _search(self, subject: Subject, points: NDArray[np.float32]) -> tuple[Floats, NDArray[np.int64], int]:
        """Distances to and indices of the nearest training pictures, and how many there are; they stream past."""
        k = self.neighbours + 1
        far = np.zeros((len(points), 0))
        who = np.zeros((len(points), 0), np.int64)
        records, done = subject.records("train"), 0
        while block := list(islice(records, 2048)):
            d, j = nearest(points, self._points(subject.seen(block)), k)
            far, who = np.concatenate([far, d], 1), np.concatenate([who, j + done], 1)
            order = np.argsort(far, axis=1, kind="stable")[:, :k]
            far, who = np.take_along_axis(far, order, 1), np.take_along_axis(who, order, 1)
            done += len(block)
            subject.watch.tick(done, None, "training pictures searched for copies")
        return far, who, done

    def _figures(
        self, subject: Subject, made: Sequence[Any], ratios: Floats, who: NDArray[np.int64]
    ) -> tuple[Figure, ...]:
        worst = np.argsort(ratios, kind="stable")[: self.shown]
        wanted = {int(j) for j in who[worst].ravel()}
        found = {j: record for j, record in enumerate(subject.records("train")) if j in wanted}
        rows = []
        for i in worst:
            near = [found[int(j)] for j in who[i]]
            pictures = subject.seen(near)
            both = subject.featured([made[i], *pictures], "nearest pictures")
            order = nearest(both[:1], both[1:], 5)[1][0]
            cells = "".join(show.picture(pictures[j], str(near[j].fields.get("origin") or near[j].id)) for j in order)
            rows.append(f'<div class="pair">{show.picture(made[i], f"sample {i}")}<span></span>{cells}</div>')
        caption = (
            "The samples that stand out most as near to a single training picture, and the five training pictures that "
            "are nearest to each in feature space."
        )
        return (Figure("Nearest training pictures", caption, f'<div class="pairs">{"".join(rows)}</div>'),)
