"""What fine-tuning cost: how well general text is predicted now, beside the model that it began from.

General text is what is held out and is no conversation; where there is none, what the earlier run held out itself.
Bits per byte, as in `likelihood`. The same texts are scored by both models, so their ratio has a narrow interval.
"""

from __future__ import annotations

import math
from typing import Literal, final

from pydantic import Field

from genus import dialogue
from genus.data.dataset import Record
from genus.data.packed import PackedConfig
from genus.errors import GenusError
from genus.learned.borrowed import lent
from genus.run import Run
from genus.validate.findings import Finding, Measure, Result, ratio
from genus.validate.likelihood import encoded, within
from genus.validate.subject import HELD, Subject, scored

FORGOTTEN = "forgetting"


@final
class Forgetting(Measure):
    """held: bytes of general text to score. batch: rows scored together."""

    kind: Literal["validate.forgetting"] = "validate.forgetting"
    held: int = Field(200_000, gt=0)
    batch: int = Field(16, ge=1)

    def __call__(self, subject: Subject) -> Result:
        """Bits per byte now and before, and by what share it grew."""
        if subject.before is None:
            return Result(notes=("Forgetting is not measured: the model began anew, or what it began from is gone.",))
        records = general(subject)
        if not records:
            return Result(notes=("Forgetting is not measured: no held-out text is at hand that is no conversation.",))
        records = list(within(records, self.held))
        model, _ = lent(subject.before)
        window = PackedConfig(window=min(subject.model.space.dims[0], model.space.dims[0]))
        nats, earlier = (
            scored(m, window, records, self.batch, subject.seed, subject.watch)[0] for m in (subject.model, model)
        )
        sizes, unit, name = [len(encoded(record)) for record in records], "bits/byte", "general_bits_per_byte"
        now = Finding(name, *ratio(nats / math.log(2), sizes), unit, "lower", subject.held)
        before = Finding(f"{name}/before", *ratio(earlier / math.log(2), sizes), unit, "lower", subject.held)
        worse = tuple(value - 1 for value in ratio(nats, earlier))
        lost = Finding(FORGOTTEN, worse[0], worse[1], worse[2], "growth of bits per byte", "lower", subject.held)
        return Result((lost, now), (before,), notes=(f"Forgetting on {len(records):,} texts, {sum(sizes):,} bytes.",))


def general(subject: Subject) -> list[Record]:
    """Held-out texts that are no conversation: of the data, or else of the run that the model began from."""
    own = plain(subject.held_out(1 << 30))
    if own or subject.before is None:
        return own
    try:
        data = Run(subject.before).dataset()
        return plain(sorted(data.media(HELD), key=lambda record: record.id))
    except (GenusError, OSError):
        return []


def plain(records: list[Record]) -> list[Record]:
    """Texts that are no conversation."""
    return [r for r in records if isinstance(r.media, str) and not dialogue.read(r.media)]
