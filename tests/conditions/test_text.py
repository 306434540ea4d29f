"""Any text becomes tokens and a vector; nothing but the text itself matters: not company, not padding."""

import pytest
import torch

from genus.conditions.text import TextConfig
from genus.core import Batch, Cond, Noise, Roads, Space
from genus.errors import UsageError
from genus.networks.convolutional import ConvolutionalConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.flow import Flow
from genus.samplers.guidance import Guidance

SPACE = Space((8, 8), 1)
ENCODER = TransformerConfig(depth=1, width=32, head=16)
CAPTIONS = ["a red heart", "a blue star", "two red stars", "grün 日本 \U0001f30d"]


def fitted(captions=CAPTIONS, **knobs):
    rows = [{"caption": c, "label": None} for c in captions]
    return TextConfig(**{"encoder": ENCODER, "width": 24, **knobs}).fit(lambda: iter(rows))


def built(config):
    """With random weights everywhere: at its start an encoder adds nothing and would pass anything."""
    torch.manual_seed(0)
    text = config.build(SPACE)
    for p in text.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return text.eval()


@pytest.fixture(scope="module")
def text():
    return built(fitted())


def asked(text, *captions, noise=None):
    with torch.no_grad():
        return text({"caption": list(captions)}, noise)


def test_both_roads_say_what_was_asked(text):
    cond = asked(text, "a red heart", "a blue star", "a red heart")
    assert text.roads == Roads(vector=24, tokens=24)
    assert cond.vector.shape == (3, 24) and cond.tokens.shape == (3, text.length, 24)
    assert (cond.vector[0] - cond.vector[1]).abs().max() > 0.1 and torch.equal(cond.vector[0], cond.vector[2])
    assert (cond.tokens[0] - cond.tokens[1]).abs().max() > 0.1


def test_order_matters(text):
    one, other = asked(text, "red a heart"), asked(text, "heart a red")
    assert (one.vector - other.vector).abs().max() > 0.1


def test_without_an_encoder_tokens_are_the_embeddings_of_ids():
    text = built(fitted(encoder=None, vector=False))
    one, other = asked(text, "a red"), asked(text, "a blue")
    assert text.roads == Roads(tokens=24) and one.vector is None and text.null(2).vector is None
    same = [a == b for a, b in zip(*text.ids(["a red", "a blue"]), strict=False)]
    alike = [torch.equal(a, b) for a, b in zip(one.tokens[0], other.tokens[0], strict=True)]
    assert alike[: len(same)] == same and any(same) and not all(same)
    assert torch.equal(asked(text, None).tokens, text.null(1).tokens)
    with pytest.raises(ValueError, match="needs an encoder"):
        TextConfig(encoder=None)
    with pytest.raises(ValueError, match="neither"):
        TextConfig(encoder=ENCODER, vector=False, tokens=False)


def test_company_and_padding_change_nothing(text):
    alone, among = asked(text, "a red"), asked(text, "two red stars and many more words behind", "a red")
    torch.testing.assert_close(alone.vector[0], among.vector[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.tokens[0], among.tokens[1], atol=1e-5, rtol=1e-5)
    longer = built(fitted().but(length=text.length + 8))
    more = asked(longer, "a red")
    torch.testing.assert_close(more.vector, alone.vector, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(more.tokens[:, : text.length], alone.tokens, atol=1e-5, rtol=1e-5)
    size = len(text.ids(["a red"])[0])
    assert alone.tokens[0, :size].any(-1).all() and not more.tokens[0, size:].any()


def networks():
    """A network of each sort that attends to tokens, random everywhere."""
    roads = Roads(vector=24, tokens=24)
    for config in (
        TransformerConfig(depth=1, width=32, head=16, causal=False, timed=True, patch=2),
        ConvolutionalConfig(widths=(8, 16), down=(1, 1), up=(1, 0), attention=1, head=8),
    ):
        torch.manual_seed(1)
        net = config.build(Space((8, 8), 1), roads)
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.3)
        yield net.eval()


def test_networks_attend_to_tokens_and_never_to_padding(text):
    x, t = torch.randn(2, 1, 8, 8), torch.rand(2)
    cond = asked(text, "a red heart", "a")
    vector, tokens = cond.vector, cond.tokens
    padded = torch.nn.functional.pad(tokens, (0, 0, 0, 5))
    swapped = tokens.clone()
    swapped[:, [0, 1]] = tokens[:, [1, 0]]
    size = len(text.ids(["a"])[0])
    for net in networks():
        for grad in (False, True):  # training and reading use different kernels
            with torch.set_grad_enabled(grad):
                y = net(x, t, Cond(vector, tokens))
                torch.testing.assert_close(net(x, t, Cond(vector, padded)), y, atol=1e-4, rtol=1e-4)
                torch.testing.assert_close(
                    net(x[1:], t[1:], Cond(vector[1:], tokens[1:, :size])), y[1:], atol=1e-4, rtol=1e-4
                )
                assert (net(x, t, Cond(vector, tokens.roll(1, 0))) - y).abs().max() > 1e-2
        if isinstance(net.config, TransformerConfig):
            assert (net(x, t, Cond(vector, swapped)) - y).abs().max() > 1e-2
        with pytest.raises(UsageError, match="tokens"):
            net(x, t, Cond(vector))
        assert net(x, t, Cond(vector, torch.zeros_like(tokens))).isfinite().all()


def test_training_and_reading_agree_where_some_is_padding(text):
    cond, x, t = asked(text, "a red heart", "a"), torch.randn(2, 1, 8, 8), torch.rand(2)
    for net in networks():
        with torch.no_grad():
            read = net(x, t, cond)
        torch.testing.assert_close(net(x, t, cond).detach(), read, atol=1e-4, rtol=1e-4)


def test_the_null_is_learned_and_dropout_gives_it(text):
    null = text.null(2)
    assert null.tokens[0, 0].any() and not null.tokens[0, 1:].any() and null.tokens.shape == (2, text.length, 24)
    noise = Noise(5, tuple(range(100)))
    dropped = [i for i, kept in enumerate(text.kept(noise)) if not kept]
    assert 3 < len(dropped) < 25
    cond = asked(text, "a red heart", "a red heart", noise=noise.of([dropped[0] - 1, dropped[0]]))
    assert torch.equal(cond.vector[1], null.vector[0]) and torch.equal(cond.tokens[1], null.tokens[0])
    assert not torch.equal(cond.vector[0], null.vector[0])
    missing = asked(text, None, "", "  ")
    assert torch.equal(missing.vector, text.null(3).vector) and torch.equal(missing.tokens, text.null(3).tokens)


def test_guidance_joins_it_with_the_null(text):
    net = next(iter(networks()))
    cond, x, t = asked(text, "a red heart"), torch.randn(1, 1, 8, 8), torch.rand(1)
    with torch.no_grad():
        guided = Guidance(scale=3.0)(net, text.null)(x, t, cond)
        plain, free = net(x, t, cond), net(x, t, text.null(1))
    torch.testing.assert_close(guided, free + 3 * (plain - free), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("caption", ["never seen", "Ünïcödé 漢字 \U0001f980\u200d", "\ud800", "\x00\n", "word " * 500])
def test_any_text_can_be_asked(text, caption):
    cond = asked(text, caption, "a red heart")
    assert cond.vector.isfinite().all() and cond.tokens.shape == (2, text.length, 24)
    assert (cond.vector[0] - cond.vector[1]).abs().max() > 1e-2


def test_a_text_that_is_too_long_is_cut_and_keeps_its_end(text):
    one, other = "word " * 500, "word " * 400
    assert torch.equal(asked(text, one).vector, asked(text, other).vector)


def test_the_label_stands_in_for_a_missing_caption(text):
    with torch.no_grad():
        cond = text({"caption": ["a red heart", None, ""], "label": ["x", "a blue star", None]})
    assert torch.allclose(cond.vector[0], asked(text, "a red heart").vector[0], atol=1e-5)
    assert torch.allclose(cond.vector[1], asked(text, "a blue star").vector[0], atol=1e-5)
    assert torch.equal(cond.vector[2], text.null(1).vector[0])
    with pytest.raises(UsageError, match="asked by 'caption'; given: name"):
        text({"name": ["x"]})


def test_what_fitting_finds():
    config = fitted(["b"] * 3 + ["a long caption of many words"], vocab=300)
    assert config.captions == (("a long caption of many words", 1), ("b", 3)) and config.length % 8 == 0
    assert config.fit(lambda: iter(())) == config  # once is enough
    again = fitted(["a long caption of many words", *["b"] * 3], vocab=300)
    assert again == config  # whatever the order of the files
    assert fitted(["word " * 300, "b"], most=16).length == 16
    labels = TextConfig(encoder=ENCODER).fit(lambda: iter([{"label": 3, "caption": None}, {"label": 4}]))
    assert labels.captions == (("3", 1), ("4", 1))
    many = fitted([str(i) for i in range(50)], kept=7)
    assert len(many.captions) == 7 and many == fitted([str(i) for i in reversed(range(50))], kept=7)


def test_data_that_says_nothing_gives_no_road():
    for captions in ([], [None, ""], ["same", "same"]):
        config = fitted(captions)
        text = config.build(SPACE)
        assert text.roads == Roads() and text({"caption": ["x"]}) == Cond() == text.null(2)
        assert text.draw(Noise(0), {}) == {} and not list(text.parameters())


def test_without_tokens_only_the_vector_is_given():
    text = built(fitted(tokens=False))
    assert text.roads == Roads(vector=24) and asked(text, "a").tokens is None and text.null(2).tokens is None


def test_drawn_as_often_as_seen():
    text = fitted(["ant"] * 30 + ["bee"] * 10).build(SPACE)
    noise = Noise(3, tuple(range(2000)))
    drawn = text.draw(noise, {})["caption"]
    assert abs(drawn.count("ant") / 2000 - 0.75) < 0.03 and set(drawn) == {"ant", "bee"}
    assert text.draw(noise.of([7]), {})["caption"] == [drawn[7]]


def test_an_encoder_that_looks_ahead_is_refused():
    with pytest.raises(UsageError, match="must be causal"):
        fitted().but(encoder=ENCODER.but(causal=False))
    with pytest.raises(UsageError, match="must be causal"):
        fitted().but(encoder=ConvolutionalConfig())


def test_through_json_it_is_the_same(text):
    config = TextConfig.model_validate(fitted().model_dump(mode="json"))
    assert config == fitted()
    again = config.build(SPACE).eval()
    again.load_state_dict(text.state_dict())
    assert torch.equal(asked(again, "a new heart").tokens, asked(text, "a new heart").tokens)


def test_bfloat16_stays_near_float32():
    text = built(fitted())
    wide = asked(text, *CAPTIONS[:2], None)
    text.bfloat16()
    half = asked(text, *CAPTIONS[:2], None)
    assert half.tokens.dtype == half.vector.dtype == torch.bfloat16
    for a, b in ((half.tokens, wide.tokens), (half.vector, wide.vector)):
        assert (a - b).norm() / b.norm() < 0.05
    x, t = torch.randn(3, 1, 8, 8), torch.rand(3)
    for net in networks():
        y = net(x, t, wide)
        assert (net.bfloat16()(x, t, half) - y).norm() / y.norm() < 0.1


def test_every_weight_learns():
    torch.manual_seed(0)
    text = fitted().build(SPACE)
    net = ConvolutionalConfig(widths=(8, 16), down=(1, 1), up=(1, 0), attention=1, head=8).build(
        Space((8, 8), 1), text.roads
    )
    nets = torch.nn.ModuleDict({"net": net, "conditioner": text})
    optimiser = torch.optim.SGD(nets.parameters(), 0.3)
    for _ in range(8):  # projections start at zero: what feeds them waits a step each
        optimiser.zero_grad()
        cond = text({"caption": [*CAPTIONS, None]}, Noise(0, tuple(range(5))))
        batch = Batch(torch.randn(5, 1, 8, 8), cond=cond)
        draws = Flow().draws({}, batch, "main", Noise(0, tuple(range(5))))
        Flow().loss({"net": net}, batch, draws, "main")[0].backward()
        optimiser.step()
    dead = [name for name, p in nets.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []
