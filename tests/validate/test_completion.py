"""Lines that are completed: by a model that knows them all, by counts, and with what follows given."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from genus.codecs.bpe import BpeConfig
from genus.core import Model, Network
from genus.data.dataset import Record
from genus.objectives.autoregression import Autoregression
from genus.samplers.tokens import Tokens
from genus.validate import ngram
from genus.validate.completion import Completion, picked

TEXT = "import os\nvalue = other + {0}\nprint(value, end={0})\n"
TEXTS = [TEXT.format(i) * 3 for i in range(30)]


class Knowing(Network):
    """Goes on with the text that it read before, if what it reads is the beginning of one; only a gap tells which."""

    def __init__(self, codec, text, told):
        super().__init__()
        self.codec, self.text, self.told, self.space = codec, text, told, codec.space

    def forward(self, x, t=None, cond=None, state=None):
        vocab = self.codec.space.vocab
        logits = torch.full((*x.shape, vocab), -5.0)
        for b, row in enumerate(x[:, 0].tolist()):
            for i in range(len(row)):
                logits[b, 0, i, self._next(row[: i + 1])] = 5.0
        return logits

    def _next(self, row):
        gaps, end = self.codec.gaps, self.codec.end
        row = [i for i in row if i <= end]
        if gaps.middle in row and not self.told:
            return end
        at = row.index(gaps.middle) if gaps.middle in row else len(row)
        drawn = self.codec.decode(torch.tensor([[row[at + 1 :]]]))[0] if at + 1 < len(row) else ""
        if at < len(row):
            before = self.codec.decode(torch.tensor([[row[1 : row.index(gaps.after)]]]))[0]
        else:
            before = self.codec.decode(torch.tensor([[row]]))[0] if row else ""
        begun = before + drawn
        where = self.text.find(begun)
        rest = self.text[where + len(begun) :] if where >= 0 and begun else "\n"
        return int(self.codec.encode([rest[:1] or "\n"])[0][0, 0])


@pytest.fixture(scope="module")
def codec():
    return BpeConfig(vocab=260, gaps=True).fit(lambda: iter(TEXTS))  # bytes alone


def subject(codec, text, told):
    net = Knowing(codec, text, told)
    space = codec.space.__class__((400,), 1, codec.space.vocab)
    model = Model(codec, space, nn.ModuleDict({"net": net}), Autoregression(), Tokens(), prompt="prefix")
    held = [Record("ab" * 16, text, {})]
    train = [Record(f"{i:032x}", one, {}) for i, one in enumerate(TEXTS)]
    watch = SimpleNamespace(tick=lambda *a: None)
    return SimpleNamespace(
        model=model, held="test", seed=0, watch=watch, held_out=lambda n: held, records=lambda split: iter(train)
    )


def test_what_follows_is_told_apart_from_what_precedes(codec):
    text = "import os\nfirst = second(third, 4)\nfifth.sixth = seventh\n"
    measure = Completion(points=3, tokens=40)
    for told, share in ((True, 1.0), (False, 0.0)):
        result = measure(subject(codec, text, told))
        found = {f.name: f.value for f in (*result.metrics, *result.baselines)}
        assert found["line_match"] == 1.0 and found["gap_match"] == share
        assert found["gap_match_gain"] == share - 1 and found["line_match/ngram6"] == 0.0
        assert found["line_match_gain"] == 1.0
        bits, plain = found["gap_bits_per_byte"], found["gap_bits_per_byte/left_to_right"]
        assert found["gap_bits_saved"] == pytest.approx(plain - bits) and (bits == pytest.approx(plain)) == told


def test_lines_are_cut_behind_words_and_the_same_ones_are():
    record = Record("12" * 16, TEXTS[3], {})
    places = picked(record, 7, 4)
    assert len(places) == 4 and places == picked(record, 7, 4)
    for place in places:
        assert place.before + place.rest + place.after == TEXTS[3] and place.item == 7
        assert place.before[-1].isalnum() and not place.rest[0].isalnum() and "\n" not in place.rest


def test_the_counts_go_on_as_their_likelihood_says():
    counts = ngram.count([text.encode() for text in TEXTS], 6)
    for before in (b"", b"v", b"value = oth", b"nothing like it"):
        p = counts.following(before)
        assert p.sum() == pytest.approx(1)
        end = -np.log(p[ngram.MARK])
        for byte in (b"e", b"\n"):
            told = -np.log(p[byte[0]]) - np.log(counts.following(before + byte)[ngram.MARK])
            assert counts.nats(before + byte) - counts.nats(before) == pytest.approx(told - end)
    assert counts.line(b"import os\nvalue = oth").startswith(b"er + ")
    assert ngram.count([b"ab"], 1).following(b"a").sum() == pytest.approx(1)
