"""Products of bytes: near those of numbers, the same in any company, with the kernel or without."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genus.core import Batch, Roads, Space, halved
from genus.networks import bytewise
from genus.networks.lora import LoraConfig
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression

SPACE = Space((32,), 1, 50)


@pytest.fixture(params=["kernel", "torch"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(bytewise, "kernel", lambda: None)
    elif bytewise.kernel() is None:
        pytest.skip("no compiler, or a processor without VNNI")
    return str(request.param)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def off(found: Tensor, wanted: Tensor) -> float:
    found, wanted = found.detach().float(), wanted.detach().float()
    return float((found - wanted).norm() / wanted.norm())


def layer(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False, dtype=torch.bfloat16)
    linear.weight.data.copy_(drawn(outputs, inputs, seed=5) * inputs**-0.5)
    return linear


def test_products_and_gradients_are_near(way: str) -> None:
    linear = layer(64, 48)
    x, g = drawn(4, 300, 64, seed=1), drawn(4, 300, 48, seed=2)
    want_x = x.float().requires_grad_()
    wanted = want_x @ linear.weight.detach().float().T
    dw = g.float().flatten(0, 1).T @ x.float().flatten(0, 1)
    wanted.backward(g.float())
    assert bytewise.onto(linear) == 1
    x.requires_grad_()
    found = linear(x)
    found.backward(g)
    assert found.dtype is x.grad.dtype is linear.weight.grad.dtype is torch.bfloat16
    for one, other in ((found, wanted), (x.grad, want_x.grad), (linear.weight.grad, dw)):
        assert 0.001 < off(one, other) < 0.02  # rounded, and not by more than bytes round


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(700, 64, 48), (64, 16, 144), (1029, 272, 16), (130, 48, 400)])
def test_with_and_without_the_kernel_it_is_the_same(
    rows: int, inputs: int, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bytewise.kernel() is None:
        pytest.skip("no compiler, or a processor without VNNI")
    loud = torch.logspace(-3, 3, rows)[:, None].bfloat16()
    x, g, w = drawn(rows, inputs, seed=1) * loud, drawn(rows, outputs, seed=2), layer(inputs, outputs).weight.detach()

    def products() -> list[Tensor]:
        return [bytewise.product(x, w, True), bytewise.product(g, w, False), bytewise.outer(g, x)]

    one = products()
    monkeypatch.setattr(bytewise, "kernel", lambda: None)
    assert all(torch.equal(a, b) for a, b in zip(one[:2], products()[:2], strict=True))
    assert off(one[2], products()[2]) < 0.001  # its blocks are summed with one rounding fewer


def test_torch_takes_the_products_for_operators(way: str) -> None:
    x, g, w = drawn(100, 64), drawn(100, 48), layer(64, 48).weight.detach()
    leaf = x.clone().requires_grad_(), w.clone().requires_grad_()
    torch.library.opcheck(bytewise.product, (*leaf, True))
    torch.library.opcheck(bytewise.outer, (g, x))


def test_a_row_is_the_same_in_any_company(way: str) -> None:
    linear = layer(64, 48)
    bytewise.onto(linear)
    x = drawn(600, 64, seed=3)
    assert torch.equal(linear(x)[200:300], linear(x[200:300]))


def test_a_row_of_zeros_stays_zero(way: str) -> None:
    x = drawn(128, 64)
    x[7] = 0
    linear = layer(64, 48)
    bytewise.onto(linear)
    assert torch.equal(linear(x)[7], torch.zeros(48, dtype=torch.bfloat16))


@pytest.mark.parametrize("case", ["read", "no gradient", "float32", "few rows"])
def test_what_does_not_learn_is_not_rounded(case: str) -> None:
    plain, other = layer(64, 48), layer(64, 48)
    bytewise.onto(other)
    x = drawn(3 if case == "few rows" else 200, 64)
    if case == "read":
        other.eval()
    if case == "float32":
        plain, other, x = plain.float(), other.float(), x.float()
    with torch.set_grad_enabled(case != "no gradient"):
        assert torch.equal(plain(x), other(x))


def test_odd_sizes_and_other_layers_are_left_alone() -> None:
    nets = nn.ModuleList([nn.Linear(64, 50), nn.Linear(20, 64), nn.Embedding(64, 64), nn.Linear(64, 64)])
    assert bytewise.onto(nets) == 1
    assert [type(net) for net in nets] == [nn.Linear, nn.Linear, nn.Embedding, bytewise.Bytewise]
    assert list(nets.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "3.weight", "3.bias"]


def test_a_bias_is_added(way: str) -> None:
    linear = nn.Linear(64, 48, dtype=torch.bfloat16)
    with torch.no_grad():
        linear.bias.fill_(100.0)
    bytewise.onto(linear)
    assert off(linear(drawn(100, 64)) - 100, F.linear(drawn(100, 64), linear.weight)) < 0.5


def test_a_network_learns_by_it(way: str) -> None:
    def losses(rounded: bool) -> list[float]:
        torch.manual_seed(0)
        nets = nn.ModuleDict({"net": TransformerConfig(depth=2, width=64, head=16).build(SPACE, Roads())}).bfloat16()
        assert not rounded or bytewise.onto(nets) > 4
        x = torch.randint(0, 5, (16, 1, 32), generator=torch.Generator().manual_seed(1)).cumsum(-1) % 50
        optimiser, found = torch.optim.AdamW(nets.parameters(), lr=3e-3), []
        for _ in range(30):
            loss = Autoregression().loss(nets, Batch(x), {}, "main")[0]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append(float(loss.detach()))
        return found

    plain, rounded = losses(False), losses(True)
    assert rounded[-1] < 0.6 * rounded[0]
    assert abs(rounded[-1] - plain[-1]) < 0.05 * plain[0]
    assert rounded != plain


def test_under_an_adapter_what_stands_still_is_rounded_and_gets_no_gradient(way: str) -> None:
    nets = nn.ModuleDict({"net": nn.Sequential(nn.Sequential(layer(64, 64), layer(64, 48)))})
    bytewise.onto(nets)
    LoraConfig(rank=4).onto(nets, torch.bfloat16)
    x = drawn(100, 64).requires_grad_()
    y = nets["net"](x)
    y.float().square().sum().backward()
    assert not torch.equal(y, layer(64, 48)(layer(64, 64)(x)))
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    learned = {name for name, weight in nets.named_parameters() if weight.grad is not None}
    assert learned and all(name.endswith((".a", ".b")) for name in learned)


def drawing(**changes: Any) -> tuple[TransformerConfig, Any, Tensor, Tensor]:
    """A network of pictures whose every weight says something, x and t."""
    config = TransformerConfig(depth=2, width=64, head=32, causal=False, timed=True, patch=2, **changes)
    net = config.build(Space((8, 8), 3))
    for i, weight in enumerate(net.parameters()):
        weight.data = 0.5 * weight.shape[-1] ** -0.5 * drawn(*weight.shape, seed=i).float()
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(7))
    return config, net.requires_grad_(False), x, torch.linspace(0.1, 0.9, 5)


@pytest.mark.parametrize("gate", ["relu2", "swiglu"])
def test_a_transformer_draws_by_bytes(way: str, gate: str) -> None:
    """As near as bytes round, in any company the same, and the network that learns stays what it was."""
    _, net, x, t = drawing(gate=gate)
    before, fast = copy.deepcopy(net.state_dict()), net.packed(8)
    assert {type(part) for block in fast.blocks for part in block.children()} == {bytewise.Panels}
    wanted, found = net(x, t), fast(x, t)
    assert 0.001 < off(found, wanted) < 0.05
    assert off(halved(net)(x, t), wanted) < off(found, wanted)
    assert torch.equal(fast(x[3:4], t[3:4])[0], found[3])
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())


def test_a_square_is_of_what_is_positive() -> None:
    x, w = drawn(40, 64, seed=1), drawn(48, 64, seed=2)
    plain, squared = (bytewise.Panels(w, squared=way)(x).float() for way in (False, True))
    assert (plain < 0).any()
    torch.testing.assert_close(squared, plain.relu().square(), rtol=0.02, atol=1e-3)
