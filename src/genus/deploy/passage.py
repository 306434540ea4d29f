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

from genus.core import Codec, Known, Model
from genus.deploy import samples
from genus.deploy.chorus import Chorus
from genus.deploy.constraints import KINDS, Constraint
from genus.errors import UsageError
from genus.samplers.beams import search
from genus.samplers.drawing import Row, Said
from genus.samplers.thinking import Thinking
from genus.samplers.tokens import Tokens

#: What decoders put for bytes that are no whole character.
UNFINISHED = "\ufffd"
Finish = Literal["stop", "length"]
#: A text to go on from, ids to go on from (a conversation), or nothing.
Prompt = str | Sequence[int] | None
#: Knobs that are not a sampler's: where a text ends, what follows it, what it keeps to, how long it may think, what is
#: noted of it.
OURS = ("stop", "likeliest", "suffix", "thinking_budget", *KINDS)
CONTEXT = 4  # ids before the drawn ones that are decoded with them, since how an id reads may depend on them


@final
@dataclass(frozen=True, slots=True)
class Growth:
    """What sample `index` has grown by; `finish` on its last one, with how many cells were drawn in all.

    ids: drawn since the last growth, end marks left out; said: what the model said of each, if it is noted.
    """

    index: int
    text: str
    finish: Finish | None = None
    cells: int = 0
    ids: tuple[int, ...] = ()
    said: tuple[Said, ...] = ()

    def after(self, other: Growth) -> Growth:
        """Both as one, the other first."""
        ids, said = other.ids + self.ids, other.said + self.said
        return Growth(self.index, other.text + self.text, self.finish, self.cells, ids, said)


def settled(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """(the beginning of `text` that nothing drawn later can change, whether a stop string ends it there)."""
    text = text.rstrip(UNFINISHED)
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    if found:
        return text[: min(found)], True
    held = max((k for stop in stops for k in range(1, len(stop)) if text.endswith(stop[:k])), default=0)
    return text[: len(text) - held], False


def asked(
    model: Model, prompt: Prompt, batch: int, suffix: str | None = None
) -> tuple[dict[str, list[Any]], Known | None]:
    """A prompt as (fields, known cells). suffix: what follows the text. Raises `UsageError` if the model takes none."""
    if prompt is None or isinstance(prompt, str):
        return model.ask(prompt, batch, suffix)
    if suffix is not None:
        raise UsageError("a suffix is of a text; a conversation is followed by nothing")
    x = torch.tensor([list(prompt)]).expand(batch, 1, -1)
    return {}, Known(x, torch.ones_like(x, dtype=torch.bool)) if prompt else None


def grow(
    model: Model,
    prompt: Prompt,
    seed: int,
    indices: Sequence[int],
    stops: Sequence[str],
    knobs: Mapping[str, Any],
    chorus: Chorus | None = None,
) -> Iterator[list[Growth]]:
    """What follows the prompt, for some samples drawn as one batch: a list, perhaps empty, each time the model draws.

    The pieces of a sample, joined, are its text without any stop string. Ends early when all have ended. knobs: the
    sampler's and `OURS`. chorus: of the texts to be drawn with. Raises `UsageError` for a model that draws no text from
    its beginning on.
    """
    stops = [*stops, *_stops(knobs.get("stop"))]
    noise = samples.noise(seed, indices)
    fields, known = asked(model, prompt, len(indices), knobs.get("suffix"))
    rest = {name: value for name, value in knobs.items() if name not in OURS}
    with torch.no_grad():
        predict, draw, cond = model.ready(noise, fields, known, rest)
    if not isinstance(draw, Tokens):
        raise UsageError(f"{draw.kind} draws no text from its beginning on, so it cannot be watched as it grows")
    rows, _ = draw.rows(model.space, noise, known)
    constraint, budget = _constraint(model.codec, knobs), knobs.get("thinking_budget")
    thinking = None if budget is None else Thinking(model.codec, budget)
    for row in rows:
        row.likeliest = knobs.get("likeliest")
        row.rule = constraint.rule() if constraint is not None else None
        if thinking is not None:
            row.rule = thinking.rule(row.past[0].tolist(), row.rule)
    if draw.beams:
        with torch.no_grad():
            search(predict, model.space, rows, cond)
    growing = [_Growing(model.codec, row, index, stops) for row, index in zip(rows, indices, strict=True)]
    song = (chorus or Chorus()).sing(predict, model.space, rows, cond)
    try:
        for _ in song:
            yield [growth for text in growing if (growth := text.grown()) is not None]
        yield [growth for text in growing if (growth := text.grown()) is not None]
    finally:
        song.close()  # type: ignore[attr-defined]


def whole(model: Model, prompt: Prompt, seed: int, indices: Sequence[int], knobs: Mapping[str, Any]) -> list[Growth]:
    """What follows the prompt, whole, of each sample."""
    done: dict[int, Growth] = {}
    for growths in grow(model, prompt, seed, indices, (), knobs):
        for growth in growths:
            done[growth.index] = growth.after(done[growth.index]) if growth.index in done else growth
    return [done[index] for index in indices]


def best(texts: Sequence[Growth], n: int) -> list[Growth]:
    """The n texts of highest log p an id, highest first; of as high, the earlier sample first."""

    def mean(text: Growth) -> float:
        return sum(said.log_p for said in text.said) / max(1, len(text.said))

    return sorted(texts, key=lambda text: (-mean(text), text.index))[:n]


def _stops(said: Any) -> list[str]:
    return [said] if isinstance(said, str) else list(said or ())


def _constraint(codec: Codec, knobs: Mapping[str, Any]) -> Constraint | None:
    said = [(kind, knobs[kind]) for kind in KINDS if knobs.get(kind) is not None]
    if len(said) > 1:
        raise UsageError(f"{' and '.join(kind for kind, _ in said)}: a text keeps to one of them; leave the others out")
    return Constraint(codec, *said[0]) if said else None


@final
class _Growing:
    """One text, and how much of it was sent."""

    def __init__(self, codec: Codec, row: Row, index: int, stops: Sequence[str]) -> None:
        self.codec, self.row, self.index, self.stops = codec, row, index, stops
        self.ends = torch.tensor(codec.space.stops)
        before = row.x[:, max(0, row.start - CONTEXT) : row.start]
        closed = torch.isin(before[0], self.ends).nonzero()
        self.context = before[:, int(closed[-1]) + 1 :] if len(closed) else before
        self.skip = len(codec.decode(self.context[None])[0]) if self.context.shape[1] else 0
        self.sent, self.ids, self.cells, self.finished = 0, 0, -1, False

    def grown(self) -> Growth | None:
        """What may be sent now that could not be before."""
        row = self.row
        if self.finished or (row.n - row.start == self.cells and not row.done):
            return None
        self.cells = row.n - row.start
        drawn = row.drawn
        marked = bool(torch.isin(drawn[:, -1:], self.ends).all()) if self.cells else False
        ids = drawn[:, :-1] if marked else drawn
        text = self._text(ids)
        sure, stopped = settled(text, self.stops)
        if stopped:
            row.done = True
        elif row.done:
            sure = text.rstrip(UNFINISHED)
        finish: Finish | None = ("stop" if stopped or marked else "length") if row.done else None
        if finish is None and len(sure) <= self.sent:
            return None
        new = tuple(ids[0, self.ids :].tolist())
        growth = Growth(
            self.index, sure[self.sent :], finish, ids.shape[1], new, tuple(row.said[self.ids : ids.shape[1]])
        )
        self.sent, self.ids, self.finished = len(sure), ids.shape[1], finish is not None
        return growth

    def _text(self, ids: Tensor) -> str:
        text: str = self.codec.decode(torch.cat([self.context, ids], 1)[None])[0]
        return text[self.skip :]
