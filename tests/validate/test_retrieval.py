"""An encoder that knows, one that guesses, one that says the same of all: each is found to be what it is."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from genus.codecs.pixels import Pixels
from genus.core import Cond
from genus.data.dataset import Record
from genus.data.stacked import StackedConfig
from genus.validate.findings import Finding
from genus.validate.gate import Gate
from genus.validate.retrieval import Retrieval, opponents
from genus.validate.subject import Subject

CLASSES = 40


class Encoder:
    """Item k is grey of 6 k; its caption is 'item k'. `half`: it misreads every second caption."""

    def __init__(self, half=False, same=False):
        self.half, self.same = half, same

    def __call__(self, x, t=None, cond=Cond(), state=None):
        return self.seen(x) @ self.said(cond).T

    def start(self, batch, cells):
        return None

    def seen(self, x):
        k = ((x[:, 0, 0, 0] + 1) * 127.5 / 6).round().long()
        return torch.ones(len(x), 1) if self.same else F.one_hot(k, CLASSES).float()

    def said(self, cond):
        k = cond.vector[:, 0].long()
        if self.half:
            k = torch.where(torch.arange(len(k)) % 2 == 0, (k + 1) % CLASSES, k)
        return torch.ones(len(k), 1) if self.same else F.one_hot(k, CLASSES).float()


def subject(encoder, rows):
    """rows: (class, caption, label) of each held-out item."""

    def records(split):
        for i, (k, caption, label) in enumerate(rows):
            yield Record(f"{i:032x}", np.full((4, 4, 1), 6 * k, np.uint8), {"caption": caption, "label": label})

    def condition(fields, n):
        both = zip(fields["caption"], fields.get("label", [None] * n), strict=True)
        said = [c or label for c, label in both]
        return Cond(vector=torch.tensor([[float(s.split()[-1])] for s in said]))

    model = SimpleNamespace(
        codec=Pixels(4, 4, 1), nets=torch.nn.ModuleDict(), predictor=lambda: (encoder, {}), condition=condition
    )
    return Subject(model, StackedConfig(), "image", records, batch=16)


def measured(encoder, rows, **knobs):
    result = Retrieval(**knobs)(subject(encoder, rows))
    return result, {f.name: f for f in (*result.metrics, *result.baselines)}


ROWS = [(k, f"item {k}", f"kind {k % 2}") for k in range(CLASSES)] * 3


def test_who_knows_finds_all():
    result, found = measured(Encoder(), ROWS)
    for way in ("retrieval", "captioning"):
        assert found[f"{way}_top1"].value == found[f"{way}_top5"].value == 1
        assert found[f"{way}_top1/chance"].value == 1 / 32 and found[f"{way}_top5/chance"].value == 5 / 32
    assert "among 32" in found["retrieval_top1"].unit and len(result.figures) == 1
    assert Gate()(result.metrics, result.baselines) == ()


def test_who_knows_half_is_found_to_know_half():
    result, found = measured(Encoder(half=True), ROWS)
    # What is misread fits another item, or none of those drawn, and ties count against the model. Of the items whose
    # caption is read rightly, most are claimed by a misread one too.
    assert found["retrieval_top1"].value == 0.5
    assert found["captioning_top1"].value < 0.2
    assert found["retrieval_top1"].low < found["retrieval_top1"].value < found["retrieval_top1"].high
    assert Gate()(result.metrics, result.baselines) == ()


def test_who_says_the_same_of_all_finds_nothing():
    result, found = measured(Encoder(same=True), ROWS)
    assert found["retrieval_top1"].value == 0 and found["zero_shot_accuracy"].value == 0
    (reason,) = Gate()(result.metrics, result.baselines)
    assert "times chance (3.1%)" in reason


class Guess(Encoder):
    """Vectors that have nothing to do with anything."""

    def seen(self, x):
        return F.normalize(torch.randn(len(x), 8, generator=torch.Generator().manual_seed(len(x))), dim=1)

    def said(self, cond):
        return F.normalize(torch.randn(len(cond.vector), 8, generator=torch.Generator().manual_seed(99)), dim=1)


def test_who_guesses_is_at_chance_and_stopped():
    result, found = measured(Guess(), [(k % CLASSES, f"item {k}", None) for k in range(800)])
    assert found["retrieval_top1"].value == pytest.approx(1 / 32, abs=0.025)
    assert found["captioning_top5"].value == pytest.approx(5 / 32, abs=0.05)
    assert len(Gate()(result.metrics, result.baselines)) == 1


def test_labels_are_named_without_having_been_captions():
    rows = [(k % 5, f"item {k % 5}", f"item {k % 5}") for k in range(50)] + [(7, "item 7", "item 7")] * 50
    _, found = measured(Encoder(), rows)
    assert found["zero_shot_accuracy"].value == 1
    assert found["zero_shot_accuracy/chance"].value == 1 / 6 and found["zero_shot_accuracy/majority"].value == 0.5
    assert found["retrieval_top1/chance"].value == 1 / 6  # among as many as there are


def test_two_labels_alone_are_classified_and_judged():
    rows = [(k % 2, None, f"item {k % 2}") for k in range(60)]
    result, found = measured(Encoder(), rows)
    assert "retrieval_top1" not in found and found["zero_shot_accuracy"].value == 1
    assert "it takes 4" in result.notes[0] and Gate()(result.metrics, result.baselines) == ()
    poor = [Finding("zero_shot_accuracy", 0.6, 0.45, 0.7)], [Finding("zero_shot_accuracy/majority", 0.5)]
    assert "not surely more than always saying the commonest" in Gate()(*poor)[0]


def test_what_cannot_be_measured_is_said():
    assert "fewer than two" in measured(Encoder(), [(1, None, None)] * 8)[0].notes[0]
    drawing = SimpleNamespace(model=SimpleNamespace(predictor=lambda: (lambda x: x, {})))
    assert "does not compare" in Retrieval()(drawing).notes[0]


def test_the_gate_wants_twice_chance_for_certain():
    def judged(low):
        return Gate()([Finding("retrieval_top1", 0.1, low, 0.2)], [Finding("retrieval_top1/chance", 0.03)])

    assert judged(0.061) == () and len(judged(0.06)) == 1
    assert Gate(chance=1.0)([Finding("retrieval_top1", 0.1, 0.04, 0.2)], [Finding("retrieval_top1/chance", 0.03)]) == ()


def test_opponents_are_captioned_differently_and_always_the_same():
    texts = [f"{i % 12}" for i in range(100)]
    drawn = opponents(texts, 7)
    assert drawn.shape == (100, 7) and np.array_equal(drawn, opponents(texts, 7))
    for i, row in enumerate(drawn):
        said = [texts[j] for j in row]
        assert len(set(said)) == 7 and texts[i] not in said
    assert len({tuple(row) for row in drawn}) > 90
