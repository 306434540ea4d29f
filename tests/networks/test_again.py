"""What lies between two products is not kept, and gradients are the same to the bit; a decoder keeps less by it."""

from functools import partial

import pytest
import torch
from torch import nn

from genus.core import Batch, Roads, Space
from genus.networks import layer
from genus.networks.again import through
from genus.networks.attention import Scaled, taped
from genus.networks.decoder import DecoderConfig
from genus.networks.experts import gated
from genus.networks.lora import LoraConfig
from genus.objectives.autoregression import Autoregression
from genus.train.probe import saved_bytes


def test_the_norm_and_the_gate_have_the_gradients_of_torch():
    torch.manual_seed(0)
    x = torch.randn(3, 5, 8, requires_grad=True)
    norm = nn.RMSNorm(8, eps=1e-5)
    nn.init.normal_(norm.weight)
    pull = torch.randn(3, 5, 8)
    ours = taped(Scaled, x, norm.weight, 1e-5)
    inputs = (x, norm.weight)
    torch.testing.assert_close(ours, norm(x))
    for a, b in zip(torch.autograd.grad(ours, inputs, pull), torch.autograd.grad(norm(x), inputs, pull), strict=True):
        torch.testing.assert_close(a, b)
    a, g = x.chunk(2, -1)
    half = a * nn.functional.silu(g)
    assert torch.equal(gated(x), half)
    for mine, known in zip(
        torch.autograd.grad(gated(x), x, pull[..., :4]), torch.autograd.grad(half, x, pull[..., :4]), strict=True
    ):
        assert torch.equal(mine, known)


@pytest.mark.parametrize("gate", ["swiglu", "gelu"])
@pytest.mark.parametrize("lora", [False, True])
def test_a_decoder_keeps_less_and_learns_the_same(gate, lora, monkeypatch):
    """Beside the same network whose operators keep what they like."""
    seen = []
    for plainly in (False, True):
        if plainly:
            monkeypatch.setattr(layer, "through", lambda cheap, product, x: product(cheap(x)))
        torch.manual_seed(0)
        config = DecoderConfig(depth=2, width=32, head=16, heads=2, kv_heads=1, hidden=128, gate=gate)
        nets = nn.ModuleDict({"net": config.build(Space((16,), 1, 20), Roads())})
        for p in nets.parameters():
            nn.init.normal_(p, std=0.2)
        if lora:
            LoraConfig(rank=2).onto(nets)
        batch = Batch(torch.randint(0, 20, (4, 1, 16), generator=torch.Generator().manual_seed(1)))
        kept = saved_bytes(partial(Autoregression().loss, nets, batch, {}, "main"))
        loss, _ = Autoregression().loss(nets, batch, {}, "main")
        loss.backward()
        seen.append((kept, loss.detach(), [p.grad for p in nets.parameters() if p.requires_grad]))
    (less, loss, grads), (more, known, others) = seen
    assert less < 0.8 * more
    assert torch.equal(loss, known) and all(map(torch.equal, grads, others))


def test_only_what_lies_between_is_made_again():
    made = []
    x, w = torch.randn(4, 8, requires_grad=True), torch.randn(3, 8, requires_grad=True)

    def cheap(x):
        made.append(1)
        return x.tanh()

    y = through(cheap, lambda h: nn.functional.linear(h, w) * 2, x)
    y.sum().backward()
    assert len(made) == 2
    with torch.no_grad():
        through(cheap, lambda h: h, x)
    assert len(made) == 3
