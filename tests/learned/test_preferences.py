"""Pairs and verdicts under a template that writes something behind an answer, as published ones do."""

from types import SimpleNamespace

import pytest
import torch
import toys

from genus.codecs.bytes import Bytes
from genus.dialogue import Message, written
from genus.learned import verdicts
from genus.learned.judge import answered
from genus.learned.preferences import PreferencesConfig
from genus.learned.verdicts import VerdictsConfig
from genus.run import in_memory

CODEC = toys.Templated()
TEXTS = [
    written([Message("user", "2+2?"), Message("assistant", "4"), Message("rejected", "five")]),
    written([Message("user", "hi"), Message("assistant", "ho"), Message("user", "so?"), Message("assistant", "no"),
             Message("rejected", "nope")]),
]  # fmt: skip


def spelt(x, mask):
    """What a mask counts, the end mark as $."""
    end = Bytes.space.stops[0]
    return ["".join("$" if i == end else chr(i) for i in row[kept].tolist()) for row, kept in zip(x, mask, strict=True)]


@pytest.mark.parametrize("window", [64, 8])
def test_an_answer_counts_up_to_its_end_mark(window):
    source = PreferencesConfig(window=window)
    (batch,) = source.judged(in_memory(CODEC, TEXTS, source), CODEC, 4)
    assert spelt(batch.x, batch.extra["said"]) == ["4$", "no$"]
    assert spelt(batch.extra["rejected"], batch.extra["rejected_said"]) == ["five$", "nope$"]


def test_verdicts_too_and_the_answer_of_another_row(monkeypatch):
    told = []

    def frozen(model, batch):
        told.append(spelt(batch.x, batch.mask))
        return torch.zeros(len(batch))

    monkeypatch.setattr(verdicts, "lent", lambda place: (None, None))
    monkeypatch.setattr(verdicts, "frozen", frozen)
    source = VerdictsConfig(phase="sft", place="")
    (batch,) = source.judged(in_memory(CODEC, TEXTS, source), CODEC, 4)
    assert spelt(batch.x, batch.mask) == told[0] == ["4$", "five$", "no$", "nope$"]
    assert told[1] == ["nope$", "4$", "five$", "no$"]


def test_a_judge_reads_up_to_the_end_mark_of_the_last_answer():
    model = SimpleNamespace(codec=CODEC, space=SimpleNamespace(dims=(64,)))
    messages = [Message("user", "hi"), Message("assistant", "ho"), Message("user", "so?"), Message("assistant", "no")]
    x, said = answered(model, messages)
    assert spelt(x[None], said[None]) == ["no$"] and int(x[0, -1]) == Bytes.space.stops[0]
