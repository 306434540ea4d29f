"""Attention in one pass: what `turn` and `attend` give, nearer to float32 than they, in any company."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from genus.core import Roads, Space
from genus.networks import selfattention
from genus.networks.attention import Table, Turned, attend, begun, places, rotary, taped, turn
from genus.networks.selfattention import attended
from genus.networks.transformer import TransformerConfig

needed = pytest.mark.skipif(selfattention.kernel() is None, reason="no compiler, or a processor without bf16")


def drawn(b: int, n: int, heads: int, kv: int, d: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n)
    return (1.7 * torch.randn(b, n, heads + 2 * kv, d, generator=g)).bfloat16(), torch.randn(
        b, n, heads, d, generator=g
    ).bfloat16()


def plain(qkv: Tensor, table: Table, heads: int, causal: bool) -> Tensor:
    both = (qkv.shape[2] + heads) // 2
    qk, v = turn(qkv[:, :, :both], table), qkv[:, :, both:]
    return attend(qk[:, :, :heads], qk[:, :, heads:], v, causal)


def off(found: Tensor | None, wanted: Tensor | None) -> float:
    assert found is not None and wanted is not None
    return float((found.detach().float() - wanted.detach().float()).norm() / wanted.detach().float().norm())


SHAPES = [
    (2, 256, 3, 3, 64, True),
    (2, 129, 3, 3, 64, False),
    (2, 37, 4, 2, 32, True),
    (1, 300, 4, 1, 128, True),
    (3, 5, 2, 2, 64, False),
    (2, 200, 2, 2, 96, False),
]


@needed
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_what_the_operators_give_and_nearer_to_float32(shape: tuple[int, int, int, int, int, bool]) -> None:
    b, n, heads, kv, d, causal = shape
    qkv, g = drawn(b, n, heads, kv, d)
    wide = rotary(places((n,)), d)
    table = wide[0].bfloat16(), wide[1].bfloat16()
    found: list[tuple[Tensor, Tensor | None]] = []
    for way, x, t in ((attended, qkv, table), (plain, qkv, table), (plain, qkv.float(), wide)):
        leaf = x.clone().requires_grad_()
        y = way(leaf, t, heads, causal)
        y.backward(g.to(y.dtype))
        found.append((y, leaf.grad))
    (y, dx), (slow, slow_dx), (exact, exact_dx) = found
    assert y.shape == (b, n, heads, d) and y.dtype is torch.bfloat16
    assert off(y, exact) < min(0.006, 1.05 * off(slow, exact))
    assert off(dx, exact_dx) < 0.006
    assert off(dx, exact_dx) < 1.05 * off(slow_dx, exact_dx)


@needed
def test_a_text_is_the_same_in_any_company_and_number_of_threads() -> None:
    qkv, g = drawn(5, 100, 4, 2, 32)
    table = rotary(places((100,)), 32, torch.bfloat16)

    def both(x: Tensor, dy: Tensor) -> list[Tensor]:
        leaf = x.clone().requires_grad_()
        y = attended(leaf, table, 4, True)
        y.backward(dy)
        assert leaf.grad is not None
        return [y.detach(), leaf.grad]

    alone = both(qkv[2:3], g[2:3])
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert all(torch.equal(a[2:3], b) for a, b in zip(both(qkv, g), alone, strict=True))
    finally:
        torch.set_num_threads(threads)


@needed
def test_rows_that_are_not_normalised_may_be_as_loud_as_they_like() -> None:
    qkv, g = drawn(2, 70, 4, 2, 32)
    qkv *= torch.linspace(0.1, 4, 70)[None, :, None, None].bfloat16()
    wide = rotary(places((70,)), 32)
    table = wide[0].bfloat16(), wide[1].bfloat16()

    def slow(x: Tensor, t: Table) -> Tensor:
        return attend(taped(Turned, x[:, :, :4], *t), taped(Turned, x[:, :, 4:6], *t), x[:, :, 6:], True)

    found = []
    for way in (lambda x: attended(x, table, 4, True, normed=False), lambda x: slow(x, table), lambda x: slow(x, wide)):
        leaf = (qkv.float() if len(found) == 2 else qkv).clone().requires_grad_()
        y = way(leaf)
        y.backward(g.to(y.dtype))
        found.append((y, leaf.grad))
    (y, dx), (rough, rough_dx), (exact, exact_dx) = found
    assert (
        bool(y.isfinite().all()) and off(y, exact) < off(rough, exact) and off(dx, exact_dx) < off(rough_dx, exact_dx)
    )


@needed
@pytest.mark.parametrize("seed", range(4))
def test_texts_in_a_row_are_as_each_alone(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    n = int(torch.randint(60, 400, (1,), generator=draw))
    qkv, g = drawn(2, n, 4, 2, 32)
    starts = torch.rand(2, n, generator=draw) < (0.3, 0.02, 0.1, 0.005)[seed]
    since = begun(starts)
    table = rotary((torch.arange(n) - since)[..., None], 32, torch.bfloat16)
    leaf = qkv.clone().requires_grad_()
    y = attended(leaf, table, 4, True, since)
    y.backward(g)
    assert leaf.grad is not None
    for row in range(2):
        edges = [0, *[i for i in range(1, n) if starts[row, i]], n]
        for a, b in pairwise(edges):
            alone = qkv[row : row + 1, a:b].clone().requires_grad_()
            one = attended(alone, rotary(places((b - a,)), 32, torch.bfloat16), 4, True)
            one.backward(g[row : row + 1, a:b])
            # of one cell the gradient of what is compared is nothing but rounding
            parts = slice(6, 8) if b - a == 1 else slice(0, 8)
            assert alone.grad is not None
            assert off(y[row, a:b], one[0]) < 0.004
            assert off(leaf.grad[row, a:b, parts], alone.grad[0, :, parts]) < 0.006


@needed
def test_what_comes_later_changes_nothing_before_it() -> None:
    qkv, _ = drawn(1, 90, 2, 2, 32)
    table = rotary(places((90,)), 32, torch.bfloat16)
    other = qkv.clone()
    other[:, 50:] += 3
    one, two = attended(qkv, table, 2, True), attended(other, table, 2, True)
    assert torch.equal(one[:, :50], two[:, :50]) and not torch.equal(one[:, 50:], two[:, 50:])


@needed
@pytest.mark.parametrize("apart", [False, True])
def test_torch_takes_it_for_an_operator(apart: bool) -> None:
    qkv, g = drawn(2, 20, 2, 1, 32)
    cos, sin = (part.reshape(1, 20, 32) for part in rotary(places((20,)), 32, torch.bfloat16))
    since = torch.tensor([0] * 9 + [9] * 11).int().repeat(2, 1) if apart else None
    torch.library.opcheck(selfattention._forth, (qkv.clone().requires_grad_(), cos, sin, since, 2, True, True))
    sums = selfattention._forth(qkv, cos, sin, since, 2, True, True)[1]
    torch.library.opcheck(selfattention._back, (g, qkv, sums, cos, sin, since, True, True))


@needed
@pytest.mark.parametrize("causal", [True, False])
def test_a_network_uses_it_where_it_can(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(*args: Any) -> Tensor:
        calls.append(1)
        return attended(*args)

    monkeypatch.setattr(selfattention, "attended", counted)
    torch.manual_seed(0)
    net = TransformerConfig(depth=3, width=64, head=32, causal=causal).build(Space((24,), 1, 50), Roads())
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    x = torch.randint(0, 50, (2, 1, 24))
    wide = net(x)
    assert not calls  # float32
    quick = net.bfloat16()(x)
    assert len(calls) == 3
    monkeypatch.setattr(selfattention, "ready", lambda: False)
    slow = net(x)
    assert len(calls) == 3 and off(quick, wide) < 1.2 * off(slow, wide)
    starts = torch.zeros(2, 24, dtype=torch.bool)
    starts[:, 10] = True
    apart = net.several(x, starts)
    monkeypatch.setattr(selfattention, "ready", lambda: True)
    assert off(net.several(x, starts), apart) < 0.02  # texts apart in one row
    assert len(calls) == (6 if causal else 3)
