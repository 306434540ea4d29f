"""A text as it grows, and how much of it may be sent already. Knows no protocol.

Two things can still be taken back at the end of a growing text: the first bytes of a character whose last ones have not
been drawn, and the beginning of what may turn out a stop string. Both are held back until it is certain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from genus.core import Model
from genus.deploy import samples

#: What decoders put for bytes that are no whole character.
UNFINISHED = "\ufffd"
Finish = Literal["stop", "length"]


@final
@dataclass(frozen=True, slots=True)
class Growth:
    """What sample `index` has grown by; `finish` on its last one, with how many cells were drawn in all."""

    index: int
    text: str
    finish: Finish | None = None
    cells: int = 0


def settled(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """(the beginning of `text` that nothing drawn later can change, whether a stop string ends it there)."""
    text = text.rstrip(UNFINISHED)
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    if found:
        return text[: min(found)], True
    held = max((k for stop in stops for k in range(1, len(stop)) if text.endswith(stop[:k])), default=0)
    return text[: len(text) - held], False


def grow(
    model: Model, prompt: str | None, seed: int, indices: Sequence[int], stops: Sequence[str], knobs: Mapping[str, Any]
) -> Iterator[list[Growth]]:
    """What follows the prompt, for some samples drawn as one batch: a list, perhaps empty, each time the model draws.

    The pieces of a sample, joined, are its text without any stop string. Ends early when all have ended.
    """
    fields, known = model.ask(prompt, len(indices))
    before = known.x.shape[2] if known is not None else 0
    skip = len(model.codec.decode(known.x[:1])[0]) if known is not None else 0
    ends = torch.tensor(model.codec.space.stops)
    sent = dict.fromkeys(range(len(indices)), 0)  # rows still growing -> characters sent
    last: dict[int, str] = {}
    x: Tensor | None = None

    def finished(row: int, text: str, finish: Finish, cells: int) -> Growth:
        return Growth(indices[row], text[sent.pop(row) :], finish, cells)

    for x in model.stream(samples.noise(seed, indices), fields, known, **knobs):
        growths, rows = [], list(sent)
        for row, text in zip(rows, model.codec.decode(x[rows]), strict=True):
            last[row] = text[skip:]
            sure, stopped = settled(last[row], stops)
            cells = _cells(x[row, 0, before:], ends)
            if stopped or cells < x.shape[2] - before:
                growths.append(finished(row, sure if stopped else last[row].rstrip(UNFINISHED), "stop", cells))
            elif len(sure) > sent[row]:
                growths.append(Growth(indices[row], sure[sent[row] :]))
                sent[row] = len(sure)
        yield growths
        if not sent:
            return
    drawn = 0 if x is None else x.shape[2] - before
    yield [finished(row, last.get(row, "").rstrip(UNFINISHED), "length", drawn) for row in list(sent)]


def _cells(row: Tensor, ends: Tensor) -> int:
    """Cells before the first end mark; all, if there is none."""
    found = torch.isin(row, ends).nonzero()
    return int(found[0]) if len(found) else len(row)
