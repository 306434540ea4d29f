"""Whether the rest of a line is found, whose beginning is given; and whether what follows helps, where gaps are filled.

Lines of held-out files are cut behind a word, and the likeliest text is drawn up to the end of the line. Beside it: an
n-gram that counts bytes of the training text (`ngram`). A model that learned to fill gaps is asked for the same rest
again, told the lines behind it (Bavarian et al. 2022, arXiv 2207.14255), and both ways of asking are compared by what
they get right and by the bits of the rest, end marks left out. Intervals are a bootstrap over files; a gain is of the
same lines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from genus.core import Batch, Gapped, Known, Model, Noise, Spelled, gapped
from genus.data.dataset import Record
from genus.validate import ngram
from genus.validate.findings import Figure, Finding, Floats, Measure, Result, ratio
from genus.validate.likelihood import encoded, within
from genus.validate.show import items
from genus.validate.subject import Subject

LEAST, MOST = 4, 60  # characters of a rest that is asked for
SLACK = 16  # cells that borders and marks may take
_BEHIND = re.compile(r"(?<=\w)(?=\W)")


class Place(NamedTuple):
    """A line cut in two, and what stands around it. item: of which record."""

    item: int
    before: str
    rest: str
    after: str


@final
class Completion(Measure):
    """items: files at most; points: lines of each. order, counted: of the n-gram, as in `likelihood`. tokens: of a rest
    at most. shown: lines on the page.
    """

    kind: Literal["validate.completion"] = "validate.completion"
    items: int = Field(100, ge=1)
    points: int = Field(4, ge=1)
    order: int = Field(6, ge=1, le=7)
    counted: int = Field(8 << 20, gt=0)
    tokens: int = Field(32, ge=1)
    batch: int = Field(16, ge=1)
    shown: int = Field(6, ge=0)

    def __call__(self, subject: Subject) -> Result:
        """Shares of lines, beside the n-gram's, and what is gained by what follows."""
        model = subject.model
        if not model.codec.streams or not isinstance(model.codec, Spelled) or model.prompt != "prefix":
            return Result(notes=("No lines are completed: the model does not go on with a text.",))
        records = subject.held_out(self.items)
        room = model.space.dims[0] - self.tokens - SLACK
        places = [cut(place, model, room) for i, r in enumerate(records) for place in picked(r, i, self.points)]
        if not places:
            return Result(notes=("No lines are completed: nothing that is held out has lines to cut.",))
        files, sizes = np.array([p.item for p in places]), np.array([len(p.rest.encode()) for p in places], np.float64)
        ones = np.ones(len(places))

        def per_file(values: Floats, over: Floats = ones) -> tuple[float, float, float]:
            kept = np.unique(files, return_inverse=True)[1]
            return ratio(np.bincount(kept, values).astype(np.float64), np.bincount(kept, over).astype(np.float64))

        def finding(name: str, values: Floats, unit: str = "share of lines", over: Floats = ones) -> Finding:
            better: Literal["lower", "higher"] = "lower" if name.split("/")[0].endswith("per_byte") else "higher"
            return Finding(name, *per_file(values, over), unit, better, subject.held)

        train = [encoded(record) for record in within(subject.records("train"), self.counted)]
        counts = ngram.count(train, self.order)
        guessed = [counts.line(place.before.encode()).decode(errors="replace") for place in places]
        told = [model.codec.encode([place.before])[0][:, :-1] for place in places]
        said = self._drawn(model, told, subject)
        by_counts, line = matched(guessed, places), matched(said, places)
        metrics = [
            finding("line_match", line),
            finding("line_match_gain", line - by_counts, "share, beside the n-gram"),
        ]
        baselines = [finding(f"line_match/ngram{self.order}", by_counts)]
        if isinstance(model.codec, Gapped) and model.codec.gaps is not None:
            around = [gapped(model.codec, place.before, place.after) for place in places]
            said = self._drawn(model, around, subject)
            gap = matched(said, places)
            bits, plain = (self._bits(model, rows, places) for rows in (around, told))
            unit = "bits/byte"
            metrics += [
                finding("gap_match", gap),
                finding("gap_match_gain", gap - line, "share, beside left-to-right"),
                finding("gap_bits_per_byte", bits, unit, sizes),
                Finding("gap_bits_saved", *per_file(plain - bits, sizes), unit, "higher", subject.held),
            ]
            baselines += [
                finding("gap_match/left_to_right", line),
                finding("gap_bits_per_byte/left_to_right", plain, unit, sizes),
            ]
        note = f"{len(places):,} lines of {len(set(files.tolist())):,} held-out files, cut behind a word."
        return Result(tuple(metrics), tuple(baselines), self._shown(places, said), (note,))

    def _shown(self, places: Sequence[Place], said: Sequence[str]) -> tuple[Figure, ...]:
        texts = [f"{p.before.splitlines()[-1]} ▸ {p.rest}\n▸ {text}" for p, text in zip(places, said, strict=True)]
        caption = "Lines of held-out files with their rest, and what the model makes of it."
        return (Figure("Completion", caption, items(texts[: self.shown])),) if self.shown else ()

    def _drawn(self, model: Model, rows: Sequence[Tensor], subject: Subject) -> list[str]:
        """The likeliest continuation of each [1, T], up to the end of the line."""
        found: list[str] = []
        assert isinstance(model.codec, Spelled)
        breaks = torch.tensor([b"\n" in spelt for spelt in model.codec.spelling])
        plain: dict[str, Any] = {"temperature": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}
        for start in range(0, len(rows), self.batch):
            some = rows[start : start + self.batch]
            x, lengths = stacked(model, some)
            given = (torch.arange(x.shape[2]) < lengths[:, None])[:, None]
            known = Known(x, given, tuple(_Line(breaks, model.space.stops[0]) for _ in some))
            noise = Noise(subject.seed).child("lines").of(range(start, start + len(some)))
            *_, drawn = model.stream(noise, {}, known, tokens=self.tokens, frequency_penalty=0.0, **plain)
            for row, length in zip(drawn, lengths.tolist(), strict=True):
                text = str(model.codec.decode(row[None, :, length : length + self.tokens])[0])
                found.append(text.split("\n")[0])
            subject.watch.tick(len(found), len(rows), "lines")
        return found

    def _bits(self, model: Model, rows: Sequence[Tensor], places: Sequence[Place]) -> Floats:
        """-log2 p of each rest behind what is told, its end left out."""
        found: list[float] = []
        rests = [x[:, :-1] for x in model.codec.encode([place.rest for place in places])]
        whole = [torch.cat([row, rest], 1) for row, rest in zip(rows, rests, strict=True)]
        model.nets.eval()
        for start in range(0, len(rows), self.batch):
            x, lengths = stacked(model, whole[start : start + self.batch])
            begun = torch.tensor([row.shape[1] for row in rows[start : start + self.batch]])
            cells = torch.arange(x.shape[2])
            mask = ((cells >= begun[:, None]) & (cells < lengths[:, None]))[:, None]
            with torch.inference_mode():
                said = model.log_prob(Batch(x, mask=mask), Noise(0, tuple(range(start, start + len(x)))))
            found += (-said.nats.double() / math.log(2)).tolist()
        return np.array(found)


@final
class _Line:
    """A rule: behind a break of the line comes the end."""

    def __init__(self, breaks: Tensor, end: int) -> None:
        self.breaks, self.free = breaks, torch.ones(len(breaks), dtype=torch.bool)
        self.over = torch.zeros(len(breaks), dtype=torch.bool)
        self.over[end] = True

    def __call__(self, drawn: Sequence[int]) -> Tensor:
        return self.over if len(drawn) and self.breaks[drawn[-1]] else self.free


def picked(record: Record, item: int, points: int) -> list[Place]:
    """Some lines of a text, cut behind a word; which ones follows from the record's id."""
    text, found = str(record.media), []
    if "\n" not in text:
        return []
    for match in _BEHIND.finditer(text):
        at = match.start()
        end = text.find("\n", at)
        rest = text[at : len(text) if end < 0 else end]
        if LEAST <= len(rest) <= MOST and len(rest.strip()) >= LEAST and text.find("\n") < at:
            found.append((at, rest))
    some = np.random.default_rng(int(record.id[:12], 16)).permutation(len(found))[:points]
    return [Place(item, text[:at], rest, text[at + len(rest) :]) for at, rest in (found[i] for i in sorted(some))]


def cut(place: Place, model: Model, room: int) -> Place:
    """The place with as much around it as fits into so many cells: two thirds before it."""

    def part(text: str, cells: int, last: bool) -> str:
        text = text[-8 * cells :] if last else text[: 8 * cells]
        x = model.codec.encode([text])[0][:, :-1]
        kept = x[:, max(0, x.shape[1] - cells) :] if last else x[:, :cells]
        return str(model.codec.decode(kept[None])[0]).strip("\ufffd") if kept.shape[1] else ""

    after = part(place.after, room // 3, False)
    return place._replace(before=part(place.before, room - room // 3, True), after=after)


def stacked(model: Model, rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[B, 1, T], padded behind, and how long each row is."""
    lengths = torch.tensor([row.shape[1] for row in rows])
    room = int(lengths.max())
    x = torch.stack([torch.nn.functional.pad(model.codec.lift(row), (0, room - row.shape[1])) for row in rows])
    return x, lengths


def matched(said: Sequence[str], places: Sequence[Place]) -> Floats:
    """Which are the rest, spaces at the end aside."""
    return np.array([text.rstrip() == p.rest.rstrip() for text, p in zip(said, places, strict=True)], np.float64)
