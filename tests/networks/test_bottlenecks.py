"""Codes that come back as they went, a codebook that follows its cells, levels that are all used."""

import json
from pathlib import Path

import pytest
import torch

from genus.core import Noise, Roads, Space
from genus.errors import UsageError
from genus.networks.autoencoder import AutoencoderConfig
from genus.networks.bottlenecks import NormalConfig, QuantisedConfig, RoundedConfig


@pytest.mark.parametrize("levels", [(8, 8, 8), (5, 3), (2, 7, 4)])
def test_rounded_codes_are_a_bijection(levels):
    bottleneck = RoundedConfig(levels=levels).build()
    ids = torch.arange(bottleneck.vocab)
    z = bottleneck.read(ids[:, None, None])
    assert z.abs().max() <= 1 and len(z.flatten(0, 1).unique(dim=0)) == bottleneck.vocab
    # An h that says each value: the inverse of the bound.
    h = (z * (bottleneck.size // 2) + bottleneck.offset) / bottleneck.middle
    h = h.clamp(-0.9999, 0.9999).atanh() - (bottleneck.offset / bottleneck.middle).atanh()
    assert torch.equal(bottleneck.code(h).flatten(), ids)
    seen, cost = bottleneck(h, h)
    torch.testing.assert_close(seen, z, atol=1e-5, rtol=0)
    assert not cost.any()


def test_gradients_pass_what_rounds():
    for config in (RoundedConfig(levels=(5, 5)), QuantisedConfig(vocab=8, channels=2)):
        h = torch.randn(3, 4, 2, requires_grad=True)
        z, _ = config.build()(h, torch.zeros_like(h))
        z.sum().backward()
        assert h.grad is not None and h.grad.abs().min() > 0


def test_the_codebook_follows_its_cells():
    torch.manual_seed(0)
    centres = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
    bottleneck = QuantisedConfig(vocab=4, channels=2, decay=0.9).build().train()
    for step in range(60):
        h = centres[torch.randint(4, (256,))] + 0.1 * torch.randn(256, 2)
        bottleneck(h.view(2, 128, 2), h)
        bottleneck.settle(Noise(step))
    far = torch.cdist(centres, bottleneck.codes)
    assert far.min(1).values.max() < 0.1  # every centre has its code, though they all started elsewhere
    assert sorted(far.argmin(1).tolist()) == [0, 1, 2, 3]


def test_a_step_in_parts_is_the_whole_step():
    h = torch.randn(8, 5, 2)
    books = []
    for parts in (1, 2):
        torch.manual_seed(1)
        bottleneck = QuantisedConfig(vocab=6, channels=2, least=0.0).build().train()
        for part in h.chunk(parts):
            bottleneck(part, part)
        bottleneck.settle(Noise(0))
        books.append(bottleneck.codes.clone())
    torch.testing.assert_close(*books)


def test_looking_moves_no_code():
    bottleneck = QuantisedConfig(vocab=6, channels=2).build().eval()
    before = bottleneck.codes.clone()
    h = torch.randn(4, 3, 2)
    bottleneck(h, h)
    assert torch.equal(bottleneck.codes, before) and not bottleneck.found.any()


@pytest.mark.parametrize("dims", [(13,), (28, 28), (9, 10), (5, 6, 7)])
@pytest.mark.parametrize("whole", [False, True])
def test_an_autoencoder_serves_any_dims(dims, whole):
    space = Space(dims, 2)
    net = AutoencoderConfig(widths=(8, 16), whole=whole, bottleneck=NormalConfig(channels=3)).build(space, Roads())
    x = torch.randn(2, 2, *dims)
    assert net(x).shape == x.shape
    code = net.bottleneck.code(net.encode(x))
    assert code.shape[1:] == net.codes.shape == net.latent
    torch.testing.assert_close(net.bottleneck.code(net.encode(x[1:])), code[1:], atol=1e-4, rtol=1e-4)


def test_tokens_are_refused():
    with pytest.raises(UsageError, match="not tokens"):
        AutoencoderConfig().build(Space((4, 4), 1, 9))


class TestParity:
    """With vector-quantize-pytorch; the figures were written by benchmarks/parity.py."""

    told = json.loads(Path(__file__).with_name("quantisers.json").read_text())

    def of(self, name):
        return torch.tensor(self.told[name])

    def test_rounded(self):
        bottleneck = RoundedConfig(levels=(8, 5, 3)).build()
        z, _ = bottleneck(self.of("h")[None], self.of("h")[None])
        torch.testing.assert_close(z[0], self.of("fsq"), atol=1e-5, rtol=0)
        assert torch.equal(bottleneck.code(self.of("h")[None])[0, 0], self.of("fsq ids"))

    def test_quantised(self):
        bottleneck = QuantisedConfig(vocab=4, channels=3, decay=0.9, least=0.0).build().train()
        bottleneck.codes.copy_(self.of("before"))
        bottleneck.total.copy_(self.of("before"))  # theirs starts as if each vector had been met once
        bottleneck.weight.fill_(1.0)
        h = self.of("h")[None]
        z, cost = bottleneck(h, h)
        torch.testing.assert_close(z[0], self.of("vq"), atol=1e-5, rtol=0)
        assert torch.equal(bottleneck.code(h)[0, 0], self.of("vq ids"))
        assert float(cost) / h.numel() == pytest.approx(self.told["cost"], rel=1e-5)  # theirs is a mean
        bottleneck.settle(Noise(0))
        torch.testing.assert_close(bottleneck.codes, self.of("after"), atol=1e-5, rtol=1e-5)
