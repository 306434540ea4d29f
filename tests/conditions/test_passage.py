"""A passage: padding moves nothing, order does, what is missing is nothing told, and a prompt is what is read."""

from dataclasses import replace

import pytest
import torch

from genus.codecs.bpe import BpeConfig
from genus.conditions.passage import PassageConfig
from genus.core import Cond, Known, Noise, Roads, Space
from genus.data.spans import SpansConfig
from genus.errors import UsageError
from genus.networks.convolutional import ConvolutionalConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.recipe import Phase
from genus.run import assemble, in_memory

SMALL = {"depth": 2, "width": 32, "head": 16}
ENCODER = TransformerConfig(**SMALL, causal=False)


def made(most=None):
    torch.manual_seed(0)
    passage = PassageConfig(encoder=ENCODER, width=24, most=most).build(Space((12,), 1, 20))
    for p in passage.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return passage.eval()


IDS = [torch.tensor([3, 1, 4, 1, 5]), torch.tensor([9]), torch.zeros(0), None, torch.tensor([[3, 1, 4]])]


def test_padding_moves_nothing_and_is_rows_of_zeros():
    passage = made()
    tokens = passage({"passage": IDS}).tokens
    assert tokens.shape == (5, 6, 24)
    for row, ids in zip(tokens, IDS, strict=True):
        alone = passage({"passage": [ids]}).tokens[0]
        torch.testing.assert_close(row[: len(alone)], alone, atol=1e-5, rtol=1e-5)
        assert (row[len(alone) :] == 0).all() and (row[: len(alone)] != 0).any(-1).all()
    torch.testing.assert_close(tokens[2], tokens[3])
    torch.testing.assert_close(passage.null(2).tokens[0], passage({"label": [1, 2]}).tokens[1])


def test_it_looks_both_ways_and_knows_order():
    passage = made()
    one, other = (passage({"passage": [torch.tensor(ids)]}).tokens for ids in ([3, 1, 4], [3, 1, 7]))
    assert (one[0, 1] - other[0, 1]).abs().max() > 1e-3
    turned = passage({"passage": [torch.tensor([4, 1, 3])]}).tokens
    assert (turned[0, 1:].flip(0) - one[0, 1:]).abs().max() > 1e-3


def test_of_a_long_passage_the_end_is_read():
    passage = made(most=4)
    long = torch.arange(9)
    torch.testing.assert_close(passage({"passage": [long]}).tokens, passage({"passage": [long[-4:]]}).tokens)


def test_an_encoder_that_would_read_padding_is_refused():
    with pytest.raises(UsageError, match=r"networks\.transformer"):
        PassageConfig(encoder=ConvolutionalConfig(widths=(8,), down=(1,), up=(1,))).build(Space((12,), 1, 20))
    with pytest.raises(UsageError, match="tokens"):
        PassageConfig(encoder=ENCODER).build(Space((12,), 2))


def whole():
    """A model of spans with random weights, asked by a passage."""
    texts = ["the cat sat on a mat", "one red ball of wool"] * 20
    codec = BpeConfig(vocab=280).fit(lambda: iter(texts))
    phase = Phase(
        name="pretrain",
        codec=BpeConfig(),
        nets={"net": TransformerConfig(**SMALL)},
        conditioner=PassageConfig(encoder=ENCODER, width=24),
        objective=Autoregression(),
        source=SpansConfig(window=12),
    )
    torch.manual_seed(0)
    model = assemble(phase, codec, "passage")
    for p in model.nets.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model, phase


def test_a_prompt_is_what_the_encoder_reads():
    model, _ = whole()
    fields, known = model.ask("the cat", 2)
    assert known is None and fields == {"passage": ["the cat", "the cat"]}
    ids = model.codec.encode(["the cat"])[0][0, :-1]
    asked, given = model.condition(fields, 2), model.condition({"passage": [ids, ids]}, 2)
    assert torch.equal(asked.tokens, given.tokens)
    drawn = [model.generate(Noise(1, (0, 1)), f, tokens=9) for f in (fields, model.ask("a ball", 2)[0], {})]
    assert drawn[0] != drawn[1] != drawn[2] and all(isinstance(text, str) for row in drawn for text in row)
    assert model.generate(Noise(1, (1,)), model.ask("the cat", 1)[0], tokens=9) == drawn[0][1:]


def test_a_long_text_is_scored_behind_what_came_before():
    model, phase = whole()
    cache = in_memory(model.codec, ["the cat sat on a mat and one red ball of wool"])
    parts = list(phase.source.once(cache, model.codec, 1))
    found = [model.log_prob(part, Noise(0)).nats for part in parts]
    together = model.log_prob(next(phase.source.once(cache, model.codec, 8)), Noise(0)).nats
    torch.testing.assert_close(torch.cat(found), together)
    assert len(parts) > 1 and (found[0] < 0).all()
    torch.testing.assert_close(model.log_prob(replace(parts[0], fields={}), Noise(0)).nats, found[0])
    assert (model.log_prob(replace(parts[1], fields={}), Noise(0)).nats - found[1]).abs() > 0.1


def test_a_rule_of_the_codec_forbids_sentinels():
    model, _ = whole()
    allowed = torch.zeros(280, dtype=torch.bool)
    allowed[[5, 7]] = True
    known = Known(torch.zeros(1, 1, 0), torch.zeros(1, 1, 0, dtype=torch.bool), (lambda drawn: allowed,))
    *_, x = model.stream(Noise(0, (0,)), {}, known, tokens=9)
    assert model.space.vocab > 280 and set(x.flatten().tolist()) == {5, 7}


def test_cached_equals_uncached_behind_a_passage():
    model, _ = whole()
    net, cond = model.nets["net"], model.condition({"passage": ["the cat", "a"]}, 2)
    x = torch.randint(0, 280, (2, 1, 10))
    with torch.no_grad():
        state = net.start(2, 12)
        parts = [net(part, cond=cond, state=state) for part in x.split([1, 4, 5], 2)]
        torch.testing.assert_close(torch.cat(parts, 2), net(x, cond=cond), atol=1e-4, rtol=1e-4)
        other = net(x, cond=Cond(cond.vector, model.condition({}, 2).tokens))
    assert (other - net(x, cond=cond)).abs().max() > 1e-2 and net.roads == Roads(tokens=24)
