"""Does the model know which text belongs to which item? For families that compare instead of drawing (`core.Embedder`).

Retrieval: a held-out caption among its own item and others that are captioned differently, and the other way round;
chance is one over their number. Zero-shot: the label whose name, read as a text, is nearest (Radford et al. 2021, arXiv
2103.00020, section 3.1); beside it chance and always saying the commonest label. Ties count against the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from genus.core import Embedder
from genus.data.dataset import Record
from genus.validate import show
from genus.validate.findings import Figure, Finding, Floats, Measure, Result, share
from genus.validate.subject import Subject, columns

RETRIEVED = "retrieval_top1"
CLASSIFIED = "zero_shot_accuracy"
FEW = 4  # different captions, below which nothing is retrieved


@final
class Retrieval(Measure):
    """items: held-out ones, at most. among: candidates, the right one included. reads: the fields that say what an item
    is, best first. labels: at most so many are told apart. shown: captions on the page.
    """

    kind: Literal["validate.retrieval"] = "validate.retrieval"
    items: int = Field(1000, ge=FEW)
    among: int = Field(32, ge=2)
    reads: tuple[str, ...] = Field(("caption", "label"), min_length=1)
    labels: int = Field(1000, ge=2)
    shown: int = Field(8, ge=0)

    def __call__(self, subject: Subject) -> Result:
        """Top-1 and top-5 both ways; accuracy where there are labels."""
        predict, _ = subject.model.predictor()
        if not isinstance(predict, Embedder):
            return Result(notes=("No retrieval: this family does not compare items with text.",))
        records = [r for r in subject.held_out(self.items) if self.text(r.fields)]
        texts = [self.text(r.fields) for r in records]
        if len(set(texts)) < 2:
            return Result(notes=("No retrieval: what is held out has fewer than two different captions or labels.",))
        subject.model.nets.eval()
        seen = self._seen(subject, predict, records)
        said = self._said(subject, predict, [r.fields for r in records])
        found = [
            self._retrieved(subject, records, texts, said @ seen.T),
            self._classified(subject, predict, records, seen),
        ]
        return Result(
            tuple(f for r in found for f in r.metrics),
            tuple(f for r in found for f in r.baselines),
            tuple(f for r in found for f in r.figures),
            tuple(n for r in found for n in r.notes),
        )

    def text(self, fields: Mapping[str, Any]) -> str:
        """What is said of an item; empty if nothing is."""
        return next((str(fields[name]) for name in self.reads if str(fields.get(name) or "").strip()), "")

    def _seen(self, subject: Subject, predict: Embedder, records: Sequence[Record]) -> Floats:
        codec, rows = subject.model.codec, []
        with torch.no_grad():
            for i in range(0, len(records), subject.batch):
                media = [record.media for record in records[i : i + subject.batch]]
                rows.append(predict.seen(codec.lift(torch.stack(codec.encode(media)))))
                subject.watch.tick(i + len(media), len(records), "embedding")
        return torch.cat(rows).double().numpy()

    def _said(self, subject: Subject, predict: Embedder, fields: Sequence[Mapping[str, Any]]) -> Floats:
        rows = []
        with torch.no_grad():
            for i in range(0, len(fields), subject.batch):
                part = columns(fields[i : i + subject.batch])
                rows.append(predict.said(subject.model.condition(part, len(fields[i : i + subject.batch]))))
        return torch.cat(rows).double().numpy()

    def _retrieved(self, subject: Subject, records: Sequence[Record], texts: Sequence[str], fit: Floats) -> Result:
        different = len(set(texts))
        among = min(self.among, different)
        if among < FEW:
            return Result(notes=(f"No retrieval: {different} different captions are held out; it takes {FEW}.",))
        others = opponents(texts, among - 1)
        own = np.arange(len(texts))
        asked = 1 + (fit[own[:, None], others] >= fit[own, own][:, None]).sum(1)  # rank of the item, by its caption
        named = 1 + (fit[others, own[:, None]] >= fit[own, own][:, None]).sum(1)  # rank of the caption, by its item
        unit = f"share of {len(texts):,}, among {among}"
        metrics, baselines = [], []
        for way, ranks in (("retrieval", asked), ("captioning", named)):
            for top in (1, 5):
                name = f"{way}_top{top}"
                metrics.append(Finding(name, *share(ranks <= top), unit, "higher", subject.held))
                chance = min(1.0, top / among)
                baselines.append(Finding(f"{name}/chance", chance, unit=unit, better="higher", split=subject.held))
        note = f"Retrieval of {len(texts):,} held-out captions, each among {among} items with different captions."
        figures = (self._figure(records, texts, fit, others),) if self.shown else ()
        return Result(tuple(metrics), tuple(baselines), figures, (note,))

    def _figure(
        self, records: Sequence[Record], texts: Sequence[str], fit: Floats, others: NDArray[np.int64]
    ) -> Figure:
        rows = []
        for i in range(min(self.shown, len(texts))):
            drawn = np.array([i, *others[i]])
            best = drawn[np.argsort(-fit[i, drawn], kind="stable")][:5]
            cells = "".join(show.picture(records[j].media, texts[j]) for j in best)
            rows.append(f'<p>{escape(texts[i])}</p><div class="grid">{cells}</div>')
        caption = f"The five that fit best of {others.shape[1] + 1}, for the first captions; the best comes first."
        return Figure("Captions and the pictures they find", caption, "".join(rows))

    def _classified(self, subject: Subject, predict: Embedder, records: Sequence[Record], seen: Floats) -> Result:
        given = [(i, str(r.fields["label"])) for i, r in enumerate(records) if r.fields.get("label") is not None]
        counts = Counter(label for _, label in given)
        if not 2 <= len(counts) <= self.labels:
            return Result()
        names = sorted(counts)
        # A label is said as a caption would be: where there are captions, it was never read as one.
        fit = seen[[i for i, _ in given]] @ self._said(subject, predict, [{self.reads[0]: name} for name in names]).T
        right = np.array([names.index(label) for _, label in given])
        own = fit[np.arange(len(right)), right][:, None]
        hits = (fit >= own).sum(1) == 1
        unit = f"share of {len(given):,}, {len(names)} labels"
        return Result(
            (Finding(CLASSIFIED, *share(hits), unit, "higher", subject.held),),
            (
                Finding(f"{CLASSIFIED}/chance", 1 / len(names), unit=unit, better="higher", split=subject.held),
                Finding(
                    f"{CLASSIFIED}/majority",
                    max(counts.values()) / len(given),
                    unit=unit,
                    better="higher",
                    split=subject.held,
                ),
            ),
        )


def opponents(texts: Sequence[str], number: int, seed: int = 0) -> NDArray[np.int64]:
    """[n, number]: for each text, items of other texts, no two of the same text, at random but the same every time."""
    rng = np.random.default_rng(seed)
    groups = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    group = np.array([groups[text] for text in texts])
    out = np.empty((len(texts), number), np.int64)
    for i in range(len(texts)):
        order = rng.permutation(len(texts))
        order = order[group[order] != group[i]]
        _, firsts = np.unique(group[order], return_index=True)  # one of each other text, the first in this order
        out[i] = order[np.sort(firsts)[:number]]
    return out
