"""Rows in one pass: what the operators give, nearer to float32 than they, in any company."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genus import graphs
from genus.core import Space
from genus.networks import rowwise
from genus.networks.rowwise import let_in, normed, squared
from genus.networks.transformer import TransformerConfig

needed = pytest.mark.skipif(rowwise.kernel() is None, reason="no compiler, or a processor without bf16")
Way = Callable[..., Tensor]


def drawn(b: int, n: int, width: int, seed: int = 0) -> list[Tensor]:
    """x, y, and six modulations that are slices of one, as a network has them; the last is what comes back."""
    g = torch.Generator().manual_seed(seed)
    x, y, back = (torch.randn(b, n, width, generator=g).bfloat16() for _ in range(3))
    mods = (0.5 * torch.randn(b, 6 * width, generator=g)).bfloat16()
    return [3 * x, y, mods, back]


def slices(mods: Tensor) -> tuple[Tensor, ...]:
    return mods[:, None].chunk(6, dim=-1)


WAYS: dict[str, Way] = {
    "normed": lambda x, y, mods: normed(x) + 0 * y,
    "modulated": lambda x, y, mods: normed(x, *slices(mods)[2:4]) + 0 * y,
    "let in": lambda x, y, mods: let_in(x, y, slices(mods)[5]),
    "squared": lambda x, y, mods: squared(x) + 0 * y,
}


def gone(way: Way, x: Tensor, y: Tensor, mods: Tensor, back: Tensor) -> list[Tensor]:
    """What comes out, and the gradients of all that went in."""
    leaves = [part.clone().requires_grad_() for part in (x, y, mods)]
    out = way(*leaves)
    out.backward(back.to(out.dtype))
    return [out.detach(), *(part.new_zeros(part.shape) if part.grad is None else part.grad for part in leaves)]


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm().clamp(min=1e-9))


@needed
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("shape", [(3, 37, 64), (1, 1, 16), (2, 8, 400)], ids=str)
def test_it_is_what_the_operators_give_and_nearer_to_float32(
    way: Way, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = drawn(*shape)
    found = gone(way, *given)
    exact = gone(way, *(part.float() for part in given))
    monkeypatch.setattr(rowwise, "ready", lambda: False)
    slow = gone(way, *given)
    for one, by_operators, wanted in zip(found, slow, exact, strict=True):
        assert one.dtype is torch.bfloat16 and one.shape == wanted.shape
        assert off(one, wanted) < 0.004
        assert off(one, wanted) < max(1.05 * off(by_operators, wanted), 0.002)


@needed
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_sample_is_the_same_in_any_company_and_number_of_threads(way: Way) -> None:
    given = drawn(5, 70, 96)
    alone = gone(way, *(part[2:3] for part in given))
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert all(torch.equal(a[2:3], b) for a, b in zip(gone(way, *given), alone, strict=True))
    finally:
        torch.set_num_threads(threads)


@needed
def test_one_modulation_may_serve_all_samples_and_lie_as_it_will() -> None:
    x, y, mods, back = drawn(4, 9, 32)
    one = mods[:1].clone().requires_grad_()
    let_in(normed(x, *slices(one)[:2]), y, slices(one)[2]).backward(back)
    many = mods[:1].repeat(4, 1).requires_grad_()
    let_in(normed(x, *slices(many)[:2]), y, slices(many)[2]).backward(back)
    assert one.grad is not None and many.grad is not None
    assert off(one.grad, many.grad.float().sum(0, keepdim=True)) < 0.01
    turned = mods.t().contiguous().t()
    assert torch.equal(normed(x, *slices(turned)[:2]), normed(x, *slices(mods)[:2]))


@needed
def test_what_is_no_number_stays_none() -> None:
    x = torch.full((1, 2, 16), float("nan")).bfloat16()
    for y in (normed(x), squared(x), let_in(x, x, x[:, :1])):
        assert y.isnan().all()


@needed
def test_a_compiled_network_learns_the_same() -> None:
    net = TransformerConfig(causal=False, timed=True, width=64, depth=2, head=32).build(Space((4, 4), 3)).bfloat16()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(1))
    x, t = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(2)), torch.tensor([0.2, 0.7])
    found = []
    for go in (net, graphs.compiled(net, backend="aot_eager")):
        net.zero_grad()
        go(x, t).square().mean().backward()
        found.append([weight.grad.clone() for weight in net.parameters() if weight.grad is not None])
    assert len(found[0]) > 10
    assert all(off(a, b) < 0.02 for a, b in zip(*found, strict=True))
