"""Adapters: nothing changes at the start, nothing else is trained, and merged they are the same network."""

import pytest
import torch

from genus.core import Roads, Space
from genus.errors import UsageError
from genus.networks.lora import Adapted, LoraConfig
from genus.networks.transformer import TransformerConfig

CONFIG = LoraConfig(rank=4, alpha=6.0)


def built():
    torch.manual_seed(0)
    net = TransformerConfig(depth=2, width=32, head=16).build(Space((8,), 1, 10), Roads())
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return torch.nn.ModuleDict({"net": net})


def adapted(shaken, config=CONFIG):
    nets = built()
    config.onto(nets)
    for module in nets.modules():
        if shaken and isinstance(module, Adapted):
            torch.nn.init.normal_(module.b, std=0.3)
            if module.m is not None:
                module.m.data.mul_(torch.rand(len(module.m)) + 0.5)
    return nets


@pytest.mark.parametrize("lengths", [False, True])
def test_it_changes_nothing_at_the_start_and_trains_little(lengths):
    x = torch.randint(0, 10, (3, 1, 8))
    nets, before = adapted(False, CONFIG.but(lengths=lengths)), built()
    assert torch.allclose(nets["net"](x), before["net"](x), atol=1e-6 * lengths, rtol=0)
    trained = {name for name, p in nets.named_parameters() if p.requires_grad}
    assert len(trained) == 16 + 8 * lengths and all(name.endswith((".a", ".b", ".m")) for name in trained)


def test_lengths_are_learned_apart_from_directions():
    """W' = m V / |V|: the gradient by m is along each row, that by the correction across it."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(5, 3)
    layer = Adapted(linear.requires_grad_(False), 2, 1.5, True)
    torch.nn.init.normal_(layer.b)
    x, pull = torch.randn(7, 5), torch.randn(7, 3)
    turned = (linear.weight + 1.5 * layer.b @ layer.a).detach()
    y = layer(x)
    unit = turned / turned.norm(dim=1, keepdim=True)
    assert torch.allclose(y, x @ (layer.m[:, None] * unit).T + linear.bias, atol=1e-6)
    (y * pull).sum().backward()
    assert torch.allclose(layer.m.grad, ((x @ unit.T) * pull).sum(0), atol=1e-5)
    across = 1.5 * (layer.m / turned.norm(dim=1))[:, None] * (pull.T @ x)  # by V, its length held
    assert torch.allclose(layer.b.grad, across.detach() @ layer.a.detach().T, atol=1e-5)


@pytest.mark.parametrize("lengths", [False, True])
def test_merged_is_the_adapter(lengths):
    x = torch.randint(0, 10, (3, 1, 8))
    config = CONFIG.but(lengths=lengths)
    nets, whole = adapted(True, config), built()
    trained = {name: p for name, p in nets.named_parameters() if p.requires_grad}
    merged = config.merged(whole.state_dict(), trained)
    assert set(merged) == set(whole.state_dict())
    whole.load_state_dict(merged)
    assert (nets["net"](x) - whole["net"](x)).abs().max() < 1e-5 * nets["net"](x).abs().max()
    assert (nets["net"](x) - built()["net"](x)).abs().max() > 0.1


def test_layers_that_are_not_there():
    with pytest.raises(UsageError, match=r"change adapter\.layers"):
        CONFIG.but(layers="nothing").onto(built())
