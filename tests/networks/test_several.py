"""Texts that share a row are each read as if it stood alone, by every network that says it can."""

import pytest
import torch

from genus.core import Cond, Roads, Several, Space
from genus.errors import UsageError
from genus.networks.decoder import DecoderConfig
from genus.networks.transformer import TransformerConfig

LENGTHS = [[5, 1, 7, 3], [16], [2, 2, 12]]
SMALL = {"depth": 2, "width": 32, "head": 16}
DECODER = {**SMALL, "heads": 2, "kv_heads": 1, "hidden": 48, "context": 16}
CASES = {
    "transformer": (TransformerConfig(**SMALL, kv_heads=1), Space((16,), 1, 11)),
    "looks both ways": (TransformerConfig(**SMALL, causal=False), Space((16,), 6)),
    "decoder": (DecoderConfig(**DECODER), Space((16,), 1, 11)),
    "begin mark apart": (DecoderConfig(**DECODER, apart=True), Space((16,), 1, 11)),
    "learned places": (DecoderConfig(**DECODER, places="learned", norm="layer", gate="gelu"), Space((16,), 1, 11)),
    "learned, apart": (DecoderConfig(**DECODER, places="learned", apart=True), Space((16,), 1, 11)),
}


def made(case, roads=Roads(), **changes):
    torch.manual_seed(0)
    config, space = CASES[case]
    net = config.but(**changes).build(space, roads)
    for name, p in net.named_parameters():
        if "norm" not in name and "before" not in name and "middle" not in name:
            torch.nn.init.normal_(p, std=0.2)
    starts = torch.zeros(3, 16, dtype=torch.bool)
    for row, lengths in zip(starts, LENGTHS, strict=True):
        row[torch.tensor([0, *lengths[:-1]]).cumsum(0)] = True
    x = torch.randn(3, *space.shape) if space.vocab is None else torch.randint(0, 11, (3, 1, 16))
    return net, x if space.vocab is None else x.masked_fill(starts[:, None], 11), starts


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("taught", [True, False])
def test_each_text_is_read_as_if_alone(case, taught):
    """Trained (probabilities are kept) and not (torch's own product)."""
    net, x, starts = made(case)
    assert isinstance(net, Several)
    with torch.set_grad_enabled(taught):
        whole = net.several(x, starts)
        whole = whole[:, 0] if net.space.vocab else whole.mT
        for row, lengths in enumerate(LENGTHS):
            at = 0
            for n in lengths:
                alone = net(x[row : row + 1, :, at : at + n])
                alone = alone[0, 0] if net.space.vocab else alone[0].mT
                torch.testing.assert_close(whole[row, at : at + n], alone, atol=1e-5, rtol=1e-5)
                at += n


def test_gradients_do_not_cross():
    net, x, starts = made("looks both ways")
    x.requires_grad_()
    net.several(x, starts)[0, :, 5].sum().backward()  # the second text of the first row, one cell long
    assert x.grad[0, :, 5].abs().sum() > 0
    x.grad[0, :, 5] = 0
    assert x.grad.abs().sum() == 0


def test_each_text_hears_the_condition():
    net, x, starts = made("transformer", Roads(tokens=9))
    cond = Cond(tokens=torch.randn(3, 4, 9))
    whole = net.several(x, starts, cond)
    alone = net(x[:1, :, 6:13], cond=cond.map(lambda v: v[:1]))
    torch.testing.assert_close(whole[:1, :, 6:13], alone, atol=1e-5, rtol=1e-5)


def test_what_looks_across_is_refused():
    net, x, starts = made("transformer", near=1)
    with pytest.raises(UsageError, match="near"):
        net.several(x, starts)
