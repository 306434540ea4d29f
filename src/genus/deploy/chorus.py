"""The texts that a model is drawing, of all requests at once: one batch that samples join and leave at any time.

Whoever asks for his next cell takes a step for all, so the others find theirs already there. What a prompt has in
common with one that was read before is not read again. Both change the shape of matrix products and nothing else:
logits of float32 weights agree with those of a text drawn alone to 1e-4; of packed ones (`networks.packed`) as far as
activations of 8 bits do. Used by one thread. Knows no protocol.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import final

from torch import Tensor

from genus.core import Cond, Predictor, Space, State
from genus.samplers.drawing import Drawing, Reader, Row

#: Bytes of what was read that is kept; cells in common from which on it is looked for.
KEPT, LEAST = 256 << 20, 8


@final
@dataclass
class Prefixes:
    """Beginnings that were read, with the state that they left; the least used go first beyond `room` bytes."""

    room: int = KEPT
    kept: OrderedDict[tuple[Predictor, bytes], tuple[Tensor, State]] = field(default_factory=OrderedDict)
    size: int = 0

    def find(self, predict: Predictor, text: Tensor) -> tuple[State, int] | None:
        """What has most cells in common with text [C, n], and how many; less than n, and no fewer than `LEAST`."""
        best, common, name = None, LEAST - 1, None
        for key, (known, state) in self.kept.items():
            n = min(known.shape[1], text.shape[1] - 1)
            if key[0] != predict or n <= common:
                continue
            same = int((known[:, :n] == text[:, :n]).all(0).long().cummin(0).values.sum())
            if same > common:
                best, common, name = state, same, key
        if best is None or name is None:
            return None
        self.kept.move_to_end(name)
        return best, common

    def keep(self, predict: Predictor, text: Tensor, state: State) -> None:
        """Text [C, n] was read into this state, which nobody changes any more."""
        key = (predict, text.numpy().tobytes())
        if key in self.kept or state.size > self.room:
            return
        self.kept[key] = (text.clone(), state)
        self.size += state.size
        while self.size > self.room:
            self.size -= self.kept.popitem(last=False)[1][1].size


@final
@dataclass
class Chorus:
    """What is drawn with the same predictor is drawn together."""

    prefixes: Prefixes = field(default_factory=Prefixes)
    drawings: dict[Predictor, Drawing] = field(default_factory=dict)

    def sing(self, predict: Predictor, space: Space, rows: Sequence[Row], cond: Cond) -> Iterator[None]:
        """Draws these rows, at least a cell of each between two yields, until all have ended. Close it to end early."""
        drawing = self._entered(predict, space, rows, cond)
        try:
            seen = [row.n for row in rows]
            while open_ := [i for i, row in enumerate(rows) if not row.done]:
                if all(rows[i].n == seen[i] for i in open_):
                    drawing.step()
                seen = [row.n for row in rows]
                yield
        finally:
            drawing.leave([row for row in rows if not row.done])
            if not drawing.rows and self.drawings.get(predict) is drawing:
                del self.drawings[predict]

    def _entered(self, predict: Predictor, space: Space, rows: Sequence[Row], cond: Cond) -> Drawing:
        if not cond.empty:
            return Drawing(predict, space, rows, cond)
        drawing = self.drawings.setdefault(predict, Drawing(predict, space, ()))
        waiting = [row for row in rows if not row.done]
        for _, some in groupby(waiting, lambda row: row.past.numpy().tobytes()):
            group = list(some)
            drawing.join(group, self._read(predict, space, group[0].past, len(group)))
        return drawing

    def _read(self, predict: Predictor, space: Space, text: Tensor, times: int) -> Reader:
        """A reader of so many rows that all begin with text [C, n], which has read all but the last cell of it."""
        reader = Reader(predict, space, 1)
        if reader.state is not None and 1 < text.shape[1] < reader.window:
            found = self.prefixes.find(predict, text)
            if found is not None:
                reader.resume(*found)
            reader.warm([text])
            self.prefixes.keep(predict, text[:, :-1], reader.state)
        reader.take([0] * times)
        return reader
