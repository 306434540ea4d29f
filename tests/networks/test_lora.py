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


def adapted(shaken):
    nets = built()
    CONFIG.onto(nets)
    for module in nets.modules():
        if shaken and isinstance(module, Adapted):
            torch.nn.init.normal_(module.b, std=0.3)
    return nets


def test_it_changes_nothing_at_the_start_and_trains_little():
    x = torch.randint(0, 10, (3, 1, 8))
    nets, before = adapted(False), built()
    assert torch.equal(nets["net"](x), before["net"](x))
    trained = {name for name, p in nets.named_parameters() if p.requires_grad}
    assert len(trained) == 16 and all(name.endswith((".a", ".b")) for name in trained)


def test_merged_is_the_adapter():
    x = torch.randint(0, 10, (3, 1, 8))
    nets, whole = adapted(True), built()
    trained = {name: p for name, p in nets.named_parameters() if p.requires_grad}
    merged = CONFIG.merged(whole.state_dict(), trained)
    assert set(merged) == set(whole.state_dict())
    whole.load_state_dict(merged)
    assert (nets["net"](x) - whole["net"](x)).abs().max() < 1e-5 * nets["net"](x).abs().max()
    assert (nets["net"](x) - built()["net"](x)).abs().max() > 0.1


def test_layers_that_are_not_there():
    with pytest.raises(UsageError, match=r"change adapter\.layers"):
        CONFIG.but(layers="nothing").onto(built())
