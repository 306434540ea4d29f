"""Rows of conversations: each cell that is said counts once, and no row holds two conversations."""

import pytest
import torch
import toys

from genus.codecs.bytes import Bytes
from genus.data.dialogue import PLAIN, SAID, WORSE, DialogueConfig, marked
from genus.dialogue import Message, pieces, written
from genus.errors import UsageError
from genus.run import in_memory

CODEC = Bytes()
END = 256
TALKS = [
    [Message("user", "2+2?"), Message("assistant", "4"), Message("user", "3?"), Message("assistant", "three")],
    [Message("user", "why"), Message("assistant", "b" * 70)],
    [Message("user", "q"), Message("assistant", "good"), Message("rejected", "bad")],
    [Message("user", "only asked")],
    [Message("user", "q"), Message("rejected", "alone")],
]
TEXTS = [*map(written, TALKS), "a plain text"]


def cache(texts=TEXTS, **settings):
    return in_memory(CODEC, texts, DialogueConfig(**settings))


def spelt(ids):
    return "".join("$" if i == END else chr(i) for i in ids.tolist())


def said(batch):
    """What counts in each row."""
    return [spelt(x[0][mask[0]]) for x, mask in zip(batch.x, batch.mask, strict=True)]


def test_ids_and_what_they_are():
    ids, marks = marked(CODEC, [TEXTS[2]])[0]
    good, bad = pieces(TALKS[2][:2]), pieces([TALKS[2][0], Message("assistant", "bad")])
    assert spelt(ids) == "".join(t + "$" * s for t, s in good + bad)
    assert spelt(ids[marks == SAID]) == "good$" and spelt(ids[marks == SAID + WORSE]) == "bad$"
    assert [x.shape[1] for x in marked(CODEC, ["", "x"])] == [1, 2]
    assert marked(CODEC, ["x"])[0][1].unique().tolist() == [SAID + PLAIN]
    assert marked(CODEC, [TEXTS[3]])[0].shape == (2, 0)


def test_a_row_is_one_conversation_and_only_answers_count():
    source = DialogueConfig(window=128).over(cache(), CODEC, 0, 3)
    batch = source.batch(0)
    assert batch.x.shape == (3, 1, 112) and sorted(said(batch)) == sorted(["4$three$", "b" * 70 + "$", "good$"])
    for x, mask in zip(batch.x, batch.mask, strict=True):
        assert spelt(x[0]).startswith("<|user|>\n") and not mask[0, :9].any()
    assert torch.equal(source.batch(5).x, source.batch(5).x) and not torch.equal(source.batch(5).x, source.batch(6).x)


@pytest.mark.parametrize("window", [8, 20, 33, 128])
def test_every_cell_that_is_said_counts_once(window):
    config = DialogueConfig(window=window)
    found = {}
    for batch in config.once(cache(), CODEC, 4):
        assert batch.x.shape[2] < window + 16
        for name, text in zip(batch.ids, said(batch), strict=True):
            found[name] = found.get(name, "") + text
    assert found == {"0": "4$three$", "1": "b" * 70 + "$", "2": "good$", "5": "a plain text$"}
    judged = [name for batch in config.judged(cache(), CODEC, 4) for name in batch.ids]
    assert set(judged) == {"0", "1", "2"} and len(judged) == config.samples(cache())


def test_without_conversations_there_is_nothing_to_learn():
    with pytest.raises(UsageError, match="no conversation"):
        DialogueConfig().over(cache(["plain"]), CODEC, 0, 2)


def test_a_template_of_the_codec_tells_what_the_assistant_says():
    ids, marks = marked(toys.Templated(), [TEXTS[0]])[0]
    assert spelt(ids) == "u:2+2?$\na:4$\nu:3?$\na:three$\n" and spelt(ids[marks == SAID]) == "4$three$"
    with pytest.raises(UsageError, match="writes earlier turns anew"):
        marked(toys.Templated(rewrites=True), [TEXTS[0]])
