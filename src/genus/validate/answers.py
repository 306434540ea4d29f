"""How well held-out answers are predicted, given what was asked: in bits per byte of what the assistant says.

Beside the model that was fine-tuned: what it said of the same answers before. The end mark of an answer is paid for and
adds no byte. Where nothing that is held out is a conversation, there is nothing to measure.
"""

from __future__ import annotations

import math
from typing import Literal, final

from pydantic import Field

from genus import dialogue
from genus.data.dataset import Record
from genus.learned.borrowed import lent
from genus.validate.findings import Figure, Finding, Measure, Result, ratio
from genus.validate.show import items
from genus.validate.subject import Subject, scored

ANSWERS = "answers_bits_per_byte"


@final
class Answers(Measure):
    """items: conversations at most. shown: questions on the page, with what the model answers."""

    kind: Literal["validate.answers"] = "validate.answers"
    items: int = Field(500, ge=1)
    shown: int = Field(4, ge=0)
    batch: int = Field(16, ge=1)

    def __call__(self, subject: Subject) -> Result:
        """Bits per byte with a bootstrap interval over conversations, and the same before."""
        records = conversations(subject.held_out(1 << 30))[: self.items]
        if not records:
            return Result(notes=("No answers: nothing that is held out is a conversation.",))
        sizes = [answered(record) for record in records]
        nats, _ = subject.nats(records, self.batch)
        unit = "bits/byte of answers"
        value = Finding(ANSWERS, *ratio(nats / math.log(2), sizes), unit, "lower", subject.held)
        baselines = []
        if subject.before is not None:
            model, _ = lent(subject.before)
            before, _ = scored(model, subject.source, records, self.batch, subject.seed, subject.watch)
            found = ratio(before / math.log(2), sizes)
            baselines.append(Finding(f"{ANSWERS}/before", *found, unit, "lower", subject.held))
        note = f"Answers of {len(records):,} held-out conversations, {sum(sizes):,} bytes."
        return Result((value,), tuple(baselines), self._shown(subject, records), (note,))

    def _shown(self, subject: Subject, records: list[Record]) -> tuple[Figure, ...]:
        asked = [question(record) for record in records[: self.shown]]
        if not asked or subject.model.prompt != "turn":
            return ()
        told = zip(asked, subject.answers(asked), strict=True)
        texts = [dialogue.written((*messages, dialogue.Message("assistant", text))) for messages, text in told]
        caption = "Held-out questions, the first of them, with what the model answers."
        return (Figure("Answers", caption, items(texts)),)


def conversations(records: list[Record]) -> list[Record]:
    """Those in which an assistant says something as it should."""
    return [r for r in records if isinstance(r.media, str) and dialogue.versions(dialogue.read(r.media))[0]]


def answered(record: Record) -> int:
    """Bytes that the assistant says."""
    good, _ = dialogue.versions(dialogue.read(record.media))
    return sum(len(m.text.encode("utf-8", "replace")) for m in good if m.role == "assistant")


def question(record: Record) -> tuple[dialogue.Message, ...]:
    """A conversation up to its last answer."""
    good, _ = dialogue.versions(dialogue.read(record.media))
    last = max(i for i, m in enumerate(good) if m.role == "assistant")
    return good[:last]
