"""Samples that are drawn cell by cell, each at a cell of its own: they come and go, and may guess some cells ahead.

A guess costs little and is checked in one pass (Leviathan et al. 2022, arXiv 2211.17192). Here the noise of a cell is
known before its logits are, so a guess is right if it is the very id that would have been drawn: argmax(log p + Gumbel
noise), accepted up to the first that differs. The text is then the one drawn without guesses, id by id, not only of
the same distribution; a draft that uses the same noise agrees often (Daliri et al. 2024, arXiv 2408.07978). Guesses
come from a cheaper predictor or from what followed the last ids before (Yang et al. 2023, arXiv 2304.04487); of the
latter as many are made as their success so far is worth (`Trust`).
Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Protocol, final, runtime_checkable

import torch
from torch import Tensor

from genus.core import Cond, Noise, Predictor, Rule, Space, State

if TYPE_CHECKING:
    from genus.samplers.tokens import Tokens


@runtime_checkable
class Drafted(Predictor, Protocol):
    """A predictor with a cheaper one of the same ids, which guesses what it will say; draft_space: that one's own."""

    draft: Predictor
    draft_space: Space


@final
@dataclass(frozen=True, slots=True)
class Said:
    """log p of a drawn id as the model says it, before penalties and filters; and the likeliest ids with theirs."""

    log_p: float
    best: tuple[tuple[int, float], ...] = ()


#: How likely a guess by what followed is right, by how many ids agreed (0 never does), before any was made; and how
#: many guesses that counts for.
EXPECTED, COUNTS = (0.0, 0.4, 0.6, 0.75), 4.0


@final
@dataclass
class Trust:
    """How often guesses of a sample were right, by how many ids agreed before them: it says how many to make next."""

    right: list[float] = field(default_factory=lambda: [COUNTS * p for p in EXPECTED])
    made: list[float] = field(default_factory=lambda: [COUNTS] * len(EXPECTED))

    def most(self, agreed: int, room: int, price: float, rows: int = 1) -> int:
        """The number of guesses, `room` at most, with most cells drawn for what their check costs.

        price: see `State`. rows: samples of the pass: beside many, each of which gets a cell by it, a wrong guess costs
        as much as a cell.
        """
        at = min(agreed, len(EXPECTED) - 1)
        p, chosen, drawn, cost = self.right[at] / self.made[at], 0, float(rows), 1 + price * (rows - 1)
        best = drawn / cost
        for k in range(1, room + 1):
            drawn += p**k
            if drawn / (cost + price * k) > best:
                best, chosen = drawn / (cost + price * k), k
        return chosen

    def learn(self, agreed: int, made: int, right: int) -> None:
        """So many were made, and the first so many right; those behind a wrong one tell nothing."""
        at = min(agreed, len(EXPECTED) - 1)
        self.right[at] += right
        self.made[at] += min(made, right + 1)


@final
@dataclass(eq=False)
class Row:
    """A sample on its way. draw: how its cells are chosen. noise: of this sample alone.

    x, given: [C, total], its cells and which are known; filled in place. start: the first that is not known at the
    front; limit: no cell is drawn from there on. likeliest: so many ids are noted of each cell with their log p; None:
    nothing is noted. n: cells that are there. agreed: ids before the last guesses that had stood in the text, 0: none.
    """

    draw: Tokens
    noise: Noise
    x: Tensor
    given: Tensor
    start: int
    limit: int
    rule: Rule | None = None
    likeliest: int | None = None
    n: int = field(init=False)
    done: bool = field(init=False, default=False)
    said: list[Said] = field(init=False, default_factory=list)
    trust: Trust = field(init=False, default_factory=Trust)
    agreed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.n = self.start
        self.done = self.n >= self.limit

    @property
    def past(self) -> Tensor:
        """All cells that are there."""
        return self.x[:, : self.n]

    @property
    def drawn(self) -> Tensor:
        """Those after the known beginning."""
        return self.x[:, self.start : self.n]

    def trial(self, cells: int) -> Row:
        """A copy that runs so many cells ahead at most, to guess by."""
        stop = self.n + cells
        made = Row(self.draw, self.noise, self.x[:, :stop].clone(), self.given[:, :stop], self.start, stop, self.rule)
        made.n, made.done = self.n, not cells
        return made

    def followed(self, room: int, price: float, rows: int) -> Tensor | None:
        """Guesses [C, k], `room` at most, by what followed before; None: there are none worth it. See `Trust.most`."""
        found = followed(self.past, self.draw.lookup, room) if room else None
        self.agreed, guess = (0, None) if found is None else (found[1], found[0])
        if guess is None:
            return None
        few = self.trust.most(self.agreed, guess.shape[1], price, rows)
        return guess[:, :few] if few else None

    def ruled(self, logits: Tensor) -> Tensor:
        """Logits [C, V], -inf where the rule forbids; where the model would never say what it allows, all alike."""
        if self.rule is None:
            return logits
        allowed = self.rule(self.drawn[0].tolist())
        allowed = torch.nn.functional.pad(allowed, (0, logits.shape[-1] - len(allowed)))
        left = logits.masked_fill(~allowed, -math.inf)
        return left if bool((left > -math.inf).any()) else torch.zeros_like(logits).masked_fill(~allowed, -math.inf)

    def add(self, ids: Tensor, logits: Tensor, stops: Tensor) -> None:
        """The next cell [C], for which logits [C, V] were said; a known one stays."""
        n = self.n
        if self.likeliest is not None:
            told = logits[0].log_softmax(-1)
            best = told.topk(min(self.likeliest, len(told)))
            pairs = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
            self.said.append(Said(float(told[int(ids[0])]), pairs))
        self.x[:, n] = torch.where(self.given[:, n], self.x[:, n], ids)
        # A known cell never ends a sample: what follows it may be known as well.
        ended = self.draw.ends and not bool(self.given[:, n].all()) and bool(torch.isin(self.x[:, n], stops).all())
        self.moved(ended, stops)

    def moved(self, ended: bool, stops: Tensor) -> None:
        """One cell more is there; known ones that follow are too."""
        self.n += 1
        self.done = ended or self.n >= self.limit
        if self.done and self.draw.ends:
            rest = self.x[:, self.n :]
            rest.copy_(torch.where(self.given[:, self.n :], rest, stops[0]))
        elif not self.done and bool(self.given[:, self.n].all()):
            self.moved(False, stops)


@final
class Drawing:
    """Rows that are drawn together. cond: theirs, row by row."""

    def __init__(self, predict: Predictor, space: Space, rows: Sequence[Row], cond: Cond = Cond()) -> None:
        self.space, self.stops = space, torch.tensor(space.stops)
        self.rows, kept = [], []
        for i, row in enumerate(rows):
            if not row.done:
                self.rows.append(row)
                kept.append(i)
        cond = cond if len(kept) == len(rows) else cond.map(lambda v: v[kept])
        self.reader = Reader(predict, space, len(kept), cond)
        self.draft = Reader(predict.draft, predict.draft_space, len(kept)) if isinstance(predict, Drafted) else None

    @torch.no_grad()
    def step(self) -> None:
        """Each row that has not ended gets one cell at least; those that have ended leave."""
        self._leave()
        if not self.rows:
            return
        guesses = self._guesses()
        told = self.reader.read([row.past for row in self.rows], guesses)
        open_, right = list(range(len(self.rows))), [0] * len(self.rows)
        for ahead in range(1 + max(map(_length, guesses))):
            for _, some in groupby(open_, lambda i: id(self.rows[i].draw)):
                group = list(some)
                rows = [self.rows[i] for i in group]
                logits = torch.stack([told[i][:, ahead] for i in group])
                for row, ids, said in zip(rows, rows[0].draw.choose(logits, rows), logits, strict=True):
                    row.add(ids, said, self.stops)
            open_ = [i for i in open_ if ahead < _length(guesses[i]) and self._right(i, guesses[i], ahead)]
            for i in open_:
                right[i] += 1
        for row, guess, came in zip(self.rows, guesses, right, strict=True):
            if guess is not None:
                row.trust.learn(row.agreed, guess.shape[1], came)
        self._leave()

    def join(self, rows: Sequence[Row], reader: Reader | None = None) -> None:
        """Further rows, without a condition; reader: of theirs, where some of their cells were read already."""
        self.rows += rows
        self.reader.join(reader or Reader(self.reader.predict, self.space, len(rows)))
        if self.draft is not None:
            self.draft.join(Reader(self.draft.predict, self.draft.space, len(rows)))

    def leave(self, rows: Sequence[Row]) -> None:
        """These rows are not wanted any more."""
        for row in rows:
            row.done = True
        self._leave()

    def _leave(self) -> None:
        kept = [i for i, row in enumerate(self.rows) if not row.done]
        if len(kept) < len(self.rows):
            self.rows = [self.rows[i] for i in kept]
            self.reader.take(kept)
            if self.draft is not None:
                self.draft.take(kept)

    def _right(self, i: int, guess: Tensor | None, ahead: int) -> bool:
        row = self.rows[i]
        return not row.done and guess is not None and bool((row.x[:, row.n - 1] == guess[:, ahead]).all())

    def _guesses(self) -> list[Tensor | None]:
        """Cells [C, k] that may follow each row, as many as it has use for."""
        room = []
        for i, row in enumerate(self.rows):
            free = min(row.draw.ahead, row.limit - row.n - 1, self.reader.room(i, row.n))
            asked = row.draw.ends and (self.draft is not None or row.draw.lookup > 0)
            room.append(max(0, free) if asked and not bool(row.given[:, row.n :].any()) else 0)
        if not any(room):
            return [None] * len(room)
        if self.draft is not None:
            return self._drafts(room)
        price = State.price if self.reader.state is None else self.reader.state.price
        return [row.followed(k, price, len(self.rows)) for row, k in zip(self.rows, room, strict=True)]

    def _drafts(self, room: list[int]) -> list[Tensor | None]:
        """What the draft would draw, with the rows' own noise."""
        assert self.draft is not None
        trials = [row.trial(k) for row, k in zip(self.rows, room, strict=True)]
        for _ in range(max(room)):
            told = self.draft.read([row.past for row in trials], [None] * len(trials))
            for row, logits in zip(trials, told, strict=True):
                if not row.done:
                    row.add(row.draw.choose(logits.transpose(0, 1), [row])[0], logits[:, 0], self.stops)
        each = zip(self.rows, trials, strict=True)
        return [trial.x[:, row.n : trial.n] if trial.n > row.n else None for row, trial in each]


def _length(guess: Tensor | None) -> int:
    return 0 if guess is None else guess.shape[1]


def followed(past: Tensor, reach: int, most: int) -> tuple[Tensor, int] | None:
    """What followed the last time that the last ids of past [C, n] stood in it: [C, up to `most`]; None: they did not.

    As many ids as possible are compared, `reach` at most; how many agreed is said too.
    """
    n = past.shape[1]
    ends = (past[:, : n - 1] == past[:, n - 1 :]).all(0).nonzero()[:, 0] + 1  # where the last id stood, and ended
    if reach < 1 or not len(ends):
        return None
    for size in range(2, reach + 1):
        longer = ends[ends >= size]
        longer = longer[(past[:, longer - size] == past[:, n - size, None]).all(0)]
        if not len(longer):
            return past[:, int(ends[-1]) :][:, :most], size - 1
        ends = longer
    return past[:, int(ends[-1]) :][:, :most], reach


@final
class Reader:
    """Logits of the cells that follow, for rows that stand apart; each cell is read once where there is a memory.

    first: the cell that stands behind the begin mark: it moves on when a stream outgrows the window. fed: inputs (the
    begin mark, then cells from `first` on) that the memory holds.
    """

    def __init__(self, predict: Predictor, space: Space, size: int, cond: Cond = Cond()) -> None:
        self.predict, self.space, self.cond, self.window = predict, space, cond, math.prod(space.dims)
        self.first, self.fed = [0] * size, [0] * size
        self.state = self._start(size)

    def _start(self, size: int) -> State | None:
        return self.predict.start(size, self.space.dims[0])

    def room(self, i: int, n: int) -> int:
        """Guesses behind n cells for which there is room before the window moves on."""
        here = n - self.first[i] + 1
        return self.window - (here if here <= self.window else 1 + max(1, self.window // 2))

    def read(self, texts: Sequence[Tensor], guesses: Sequence[Tensor | None]) -> list[Tensor]:
        """Of each text [C, n], with guesses [C, k] behind it, logits [C, k + 1, V] of the k + 1 cells that follow."""
        inputs = []
        for i, (x, guess) in enumerate(zip(texts, guesses, strict=True)):
            n = x.shape[1]
            if n - self.first[i] + 1 > self.window:
                self.first[i], self.fed[i] = n - max(1, self.window // 2), 0
            self.fed[i] = min(self.fed[i], n - self.first[i])  # what was fed beyond it was a guess, or padding
            begin = x.new_full((x.shape[0], 1), self.space.vocab or 0)
            inputs.append(torch.cat([begin, x[:, self.first[i] :], *([] if guess is None else [guess])], 1))
        ahead = [_length(guess) for guess in guesses]
        if self.state is None:
            return self._anew(inputs, ahead)
        fresh, begun = [i for i, fed in enumerate(self.fed) if fed == 0], {}
        if 0 < len(fresh) < len(inputs):
            begun = self._begin(fresh, inputs, ahead)
        elif fresh and self.cond.empty:
            keys = [(k, *x.flatten().tolist()) for x, k in zip(inputs, ahead, strict=True)]
            ones = list(dict.fromkeys(keys))
            if len(ones) < len(keys):
                return self._once(inputs, ahead, [ones.index(key) for key in keys])
        told = self._further(self.state, list(range(len(inputs))), inputs, ahead)
        for i, first in begun.items():
            told[i] = torch.cat([first, told[i][:, told[i].shape[1] - ahead[i] :]], 1)
        return told

    @torch.no_grad()
    def warm(self, texts: Sequence[Tensor]) -> None:
        """Read what stands before the last cell of each text, so that rows that join are not waited for."""
        if self.state is not None and all(x.shape[1] for x in texts):
            self.read([x[:, :-1] for x in texts], [None] * len(texts))

    def resume(self, state: State, cells: int) -> None:
        """Of one row: a text that has these first cells in common was read into `state`."""
        self.state, self.first, self.fed = state.take([0]), [0], [1 + cells]

    def take(self, rows: Sequence[int]) -> None:
        """Keep these rows alone; one that is named more than once is copied."""
        self.first, self.fed = [self.first[i] for i in rows], [self.fed[i] for i in rows]
        self.cond = self.cond.map(lambda v: v[list(rows)])
        if self.state is not None:
            self.state = self.state.take(rows)

    def join(self, other: Reader) -> None:
        """The rows of another, behind these. Neither has a condition."""
        assert self.cond.empty and other.cond.empty, "rows that come later bring no condition"
        if self.state is not None and other.state is not None:
            self.state = self.state.join(other.state) if self.fed else other.state
        self.first, self.fed = self.first + other.first, self.fed + other.fed

    def _once(self, inputs: list[Tensor], ahead: list[int], which: list[int]) -> list[Tensor]:
        """Rows that have read nothing and are to read the same (those with the same number) read it once."""
        ones = [which.index(k) for k in range(max(which) + 1)]
        own = self._start(len(ones))
        assert own is not None
        told = self._further(own, ones, [inputs[i] for i in ones], [ahead[i] for i in ones])
        self.state = own.take(which)
        self.fed = [self.fed[ones[k]] for k in which]
        return [told[k] for k in which]

    def _cond(self, rows: list[int]) -> Cond:
        return self.cond if len(rows) == len(self.fed) else self.cond.map(lambda v: v[rows])

    def _begin(self, fresh: list[int], inputs: list[Tensor], ahead: list[int]) -> dict[int, Tensor]:
        """Rows that have read nothing read what stands before their last cell by themselves.

        Where that is nothing they read the begin mark, and what follows it is returned.
        """
        assert self.state is not None
        own = self._start(len(fresh))
        assert own is not None
        before = [inputs[i].shape[1] - 1 - ahead[i] for i in fresh]
        some = [inputs[i][:, : max(1, n)] for i, n in zip(fresh, before, strict=True)]
        told = self._further(own, fresh, some, [0] * len(fresh))
        others = [i for i in range(len(inputs)) if i not in fresh]
        order = sorted(range(len(inputs)), key=[*others, *fresh].__getitem__)
        self.state = self.state.take(others).join(own).take(order)
        return {i: logits for i, logits, n in zip(fresh, told, before, strict=True) if n == 0}

    def _further(self, state: State, rows: list[int], inputs: list[Tensor], ahead: list[int]) -> list[Tensor]:
        """Inputs [C, n] of these rows that the state has not read; logits [C, k + 1, V] at the last k + 1 of each."""
        state.rewind([self.fed[i] for i in rows])
        new = [x[:, self.fed[i] :] for i, x in zip(rows, inputs, strict=True)]
        longest = max(x.shape[1] for x in new)
        x = torch.zeros(len(new), self.space.channels, longest, dtype=torch.long)
        for row, cells in enumerate(new):
            x[row, :, : cells.shape[1]] = cells
        state.wanted = longest - min(max(0, cells.shape[1] - 1 - k) for cells, k in zip(new, ahead, strict=True))
        told = self.predict(x, cond=self._cond(rows), state=state)
        found = []
        for row, (i, cells, k) in enumerate(zip(rows, new, ahead, strict=True)):
            self.fed[i] += cells.shape[1]
            stop = told.shape[2] - (longest - cells.shape[1])
            found.append(told[row, :, max(0, stop - 1 - k) : stop])
        return found

    def _anew(self, inputs: list[Tensor], ahead: list[int]) -> list[Tensor]:
        """Without a memory all is read again; what comes later cannot be seen from a cell."""
        found: list[Tensor | None] = [None] * len(inputs)
        order = sorted(range(len(inputs)), key=lambda i: inputs[i].shape[1])
        for n, some in groupby(order, lambda i: inputs[i].shape[1]):
            group = list(some)
            x = torch.stack([inputs[i] for i in group])
            cond = self._cond(group)
            if len(self.space.dims) > 1:  # the whole grid is read
                x = torch.nn.functional.pad(x, (0, self.window - n)).view(len(group), -1, *self.space.dims)
            told = self.predict(x, cond=cond).flatten(2, -2)
            for row, i in enumerate(group):
                found[i] = told[row, :, n - 1 - ahead[i] : n]
        return [y for y in found if y is not None]
