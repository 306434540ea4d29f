"""The likeliest texts, searched for instead of drawn: some beginnings are kept, and each is gone on from (beam search).

    score = log p(x) / n^length        n: cells of the text behind the prompt, its end mark among them

Of all texts one cell longer those with the highest log p are kept; one that has ended stands aside. The search is over
when no open text scores higher than all that have to be found. It has no chance in it: sample i is the i-th best.
Biases, penalties and rules hold, as everywhere; temperature and filters do not. Knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, final

import torch

from genus.core import Cond, Predictor, Space
from genus.errors import UsageError
from genus.samplers.drawing import Reader, Row

if TYPE_CHECKING:
    from genus.samplers.tokens import Tokens


@final
@dataclass(frozen=True)
class Beam:
    """A text on its way, and log p of what stands behind its prompt."""

    row: Row
    log_p: float

    def score(self, draw: Tokens) -> float:
        """See the module."""
        return over(self.log_p, self.row.n - self.row.start, draw)


@torch.no_grad()
def search(predict: Predictor, space: Space, rows: Sequence[Row], cond: Cond = Cond()) -> None:
    """Fill rows in place. Rows of one prompt are one search; its i-th best goes to sample i.

    Raises `UsageError` for samples beyond `beams`, several channels, known cells behind the beginning, or a condition.
    """
    if not cond.empty or space.channels > 1 or any(bool(row.given[:, row.n :].any()) for row in rows):
        raise UsageError("beams are for texts that go on from a prompt; leave them out, and let it draw")
    for _, some in groupby(sorted(rows, key=_key), _key):
        group = list(some)
        ranks = [row.noise.samples[0] for row in group]
        draw = group[0].draw
        if max(ranks) >= draw.beams:
            raise UsageError(
                f"sample {max(ranks)} of {draw.beams} beams: there are as many texts as beams; ask for more"
            )
        found = _best(predict, space, group[0])
        for row, rank in zip(group, ranks, strict=True):
            best = found[min(rank, len(found) - 1)].row
            row.x.copy_(best.x)
            row.n, row.said, row.done = best.n, best.said, True


def _key(row: Row) -> bytes:
    return row.past.numpy().tobytes()


def _best(predict: Predictor, space: Space, row: Row) -> list[Beam]:
    """The texts that go on from a row, best first."""
    draw, stops = row.draw, torch.tensor(space.stops)
    open_, ended = [Beam(_grown(row), 0.0)], list[Beam]()
    if row.done:
        return open_
    reader = Reader(predict, space, 1)
    while open_:
        told = reader.read([beam.row.past for beam in open_], [None] * len(open_))
        logits = torch.stack([y[:, -1] for y in told])
        log_p = draw.bent(logits, [beam.row for beam in open_])[:, 0].double().log_softmax(-1)
        total = log_p + torch.tensor([beam.log_p for beam in open_], dtype=torch.float64)[:, None]
        best = total.flatten().topk(min(2 * draw.beams, total.numel()))
        kept, parents = list[Beam](), list[int]()
        for value, at in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            if len(kept) == draw.beams or value == -torch.inf:
                break
            parent, ids = at // log_p.shape[1], torch.tensor([at % log_p.shape[1]])
            made = Beam(_grown(open_[parent].row), value)
            made.row.add(ids, logits[parent], stops)
            if made.row.done:
                ended.append(made)
            else:
                kept.append(made)
                parents.append(parent)
        ended = sorted(ended, key=lambda beam: -beam.score(draw))[: draw.beams]
        if len(ended) == draw.beams and (not kept or _ceiling(kept, draw) <= ended[-1].score(draw)):
            break
        open_ = kept
        if kept:
            reader.take(parents)
    return ended


def _ceiling(beams: Sequence[Beam], draw: Tokens) -> float:
    """What no text that goes on from these can exceed: their log p can but fall, over as many cells as there may be."""
    return max(over(beam.log_p, beam.row.limit - beam.row.start, draw) for beam in beams)


def over(log_p: float, cells: int, draw: Tokens) -> float:
    """log p over so many cells, to the power of `length`."""
    return log_p / float(max(1, cells) ** draw.length)


def _grown(row: Row) -> Row:
    """A copy that may go on in another way."""
    made = Row(row.draw, row.noise, row.x.clone(), row.given, row.start, row.limit, row.rule, row.likeliest)
    made.n, made.done, made.said = row.n, row.done, list(row.said)
    return made
