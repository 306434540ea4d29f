"""A text with a gap: what follows is told to the model, and stands behind what it draws."""

import pytest
import torch

from genus.codecs.bpe import BpeConfig
from genus.core import gapped
from genus.deploy import passage
from genus.deploy.samples import draw
from genus.errors import UsageError
from genus.networks.transformer import TransformerConfig
from genus.recipes import find
from genus.run import assemble

TEXTS = ["def mean(values):\n    total = sum(values)\n    return total / len(values)\n"] * 3


@pytest.fixture(scope="module")
def model():
    codec = BpeConfig(vocab=280, gaps=True).fit(lambda: iter(TEXTS))
    phase = find("codegen").phases[0].but(nets={"net": TransformerConfig(depth=1, width=32, head=16)})
    torch.manual_seed(0)
    made = assemble(phase, codec, "prefix")
    for weight in made.nets.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return made


def test_a_suffix_is_known_and_stands_behind_what_is_drawn(model):
    before, after = "def mean(values):\n", "    return total\n"
    _, known = model.ask(before, 2, after)
    assert known.x.shape[0] == 2 and known.mask.all()
    assert torch.equal(known.x[0], gapped(model.codec, before, after).long())
    knobs = {"tokens": 12, "suffix": after}
    grown = passage.whole(model, before, 0, (0, 1), knobs)
    items = draw(None, before, 0, (0, 1), knobs, model=model)
    assert items == [before + g.text + after for g in grown] and len({*items}) == 2
    other = passage.whole(model, before, 0, (0, 1), {**knobs, "suffix": "x = 1\n"})
    assert [g.text for g in other] != [g.text for g in grown]
    assert passage.whole(model, before, 0, (1,), knobs)[0].text == grown[1].text
    assert draw(None, None, 0, (0,), knobs, model=model)[0].endswith(after)


def test_a_conversation_and_a_model_without_gaps_are_refused(model):
    with pytest.raises(UsageError, match="a suffix is of a text"):
        passage.asked(model, [1, 2], 1, "x")
    plain = assemble(find("gpt").phases[0], BpeConfig(vocab=270).fit(lambda: iter(TEXTS)), "prefix")
    with pytest.raises(UsageError, match="learned to fill no gaps"):
        plain.ask("a", 1, "b")
