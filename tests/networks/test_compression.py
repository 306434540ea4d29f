"""Rounding by what it does to outputs: closer than rounding to the nearest where inputs are uneven or alike."""

import pytest
import torch

from genus.core import Space
from genus.errors import UsageError
from genus.networks.compression import compressed
from genus.networks.decoder import DecoderConfig
from genus.networks.packed import PackedLinear, laid, rounded, spread
from genus.networks.rounding import eighths, fed_back, numbers, scaled

SPACE = Space((48,), 1, 77)
LLAMA = DecoderConfig(depth=2, width=64, head=32, heads=4, kv_heads=2, hidden=96)
KINDS = {
    "llama": LLAMA,
    "apart": LLAMA.but(apart=True, tied=False),
    "gpt2": LLAMA.but(norm="layer", places="learned", gate="gelu", biases=("qkv", "out", "ffn"), kv_heads=4),
    "qwen3": LLAMA.but(qk_norm="head", biases=("qkv",)),
}


def uneven(config=LLAMA):
    """A network some of whose channels are many times as large as others, and texts."""
    torch.manual_seed(0)
    net = config.build(SPACE).eval()
    with torch.no_grad():
        for p in net.parameters():
            torch.nn.init.normal_(p, std=0.2)
        for block in net.blocks:
            block.before.weight.copy_(torch.randn(64).exp())
            block.middle.weight.copy_(torch.randn(64).exp())
    return net, [torch.randint(0, 77, (30,)) for _ in range(8)]


def off(net, other, state=False):
    """Mean difference of logits, over their deviation."""
    torch.manual_seed(5)
    x = torch.cat([torch.full((2, 1, 1), 77), torch.randint(0, 77, (2, 1, 40))], 2)
    with torch.no_grad():
        wanted = net(x)
        said = other(x, state=other.start(2, 48) if state else None)
    return float((said - wanted).abs().mean() / wanted.std())


@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_laid_is_found_again(bits):
    torch.manual_seed(0)
    few = rounded(torch.randn(50, 96), bits)
    rows = spread(laid(*few, bits), bits).transpose(1, 2).flatten(2).flatten(0, 1)
    assert torch.equal(rows[:50, :96], numbers(few, bits))
    part = PackedLinear(96, 50, bits)
    part.fill(*few)
    ids = torch.tensor([[3, 49], [0, 16]])
    assert torch.equal(part.rows(ids), numbers(few, bits)[ids])


def test_errors_are_fed_back():
    torch.manual_seed(0)
    w, x = torch.randn(20, 64), torch.randn(500, 8) @ torch.randn(8, 64) + 0.1 * torch.randn(500, 64)

    def lost(few):
        return float((x @ (numbers(few, 4) - w).T).square().mean())

    assert lost(fed_back(w, x.T @ x, 4)) < 0.3 * lost(rounded(w, 4))
    even = torch.eye(64)  # nothing to make up for
    assert all(torch.equal(a, b) for a, b in zip(fed_back(w, even, 4), rounded(w, 4), strict=True))


def test_factors_even_out_what_stands_out():
    torch.manual_seed(0)
    w, x = torch.randn(20, 64), torch.randn(400, 64)
    x[:, 5] *= 40
    s = scaled(w, x, 8)

    def lost(s):
        return float((eighths(x / s) @ numbers(rounded(w * s, 8), 8).T - x @ w.T).square().mean())

    assert s[5] > 3 * s.median() and lost(s) < 0.5 * lost(torch.ones(64))
    tied = torch.arange(64) // 2
    assert torch.equal(*scaled(w, x, 8, tied).view(32, 2).T)


@pytest.mark.parametrize("kind", KINDS)
def test_a_compressed_network_is_nearly_the_network(kind):
    net, texts = uneven(KINDS[kind])
    small = compressed(net, texts, 8)
    assert off(net, small) < 0.06 and off(net, small, state=True) < 0.06
    assert not any(p.dim() == 2 for n, p in small.named_parameters() if "places" not in n)


def test_both_ways_lose_less_than_rounding_to_the_nearest():
    net, texts = uneven()
    plain, *others = (off(net, compressed(net, texts, 4, way)) for way in ("nearest", "awq", "gptq", "both"))
    assert max(others) < plain and others[2] < 0.8 * plain


def test_it_is_drawn_from_as_it_is_and_not_trained():
    net, texts = uneven()
    small = compressed(net, texts, 4)
    assert small.packed(4) is small
    with pytest.raises(UsageError, match="4 bits already"):
        small.packed(8)
    with pytest.raises(UsageError, match="compress the run that they were made of"):
        compressed(small, texts, 4)
    with pytest.raises(UsageError, match="not trained; start from the run that was compressed"):
        small.train()(torch.tensor([[[77, 1, 2]]]))
