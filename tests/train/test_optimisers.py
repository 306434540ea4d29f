"""The vector of weights against torch's own optimisers, Muon against its definition, and a resume bit for bit."""

import math

import pytest
import torch
from torch import nn

from genus.errors import GenusError
from genus.recipe import Training
from genus.train import optimisers
from genus.train.optimisers import Flat, Halves, inner, orthogonal


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 10), nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10)), nn.Linear(10, 3))


class Layers(nn.Module):
    """An embedding, two equal layers, a head: what Muon may have and what not."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 8), nn.Linear(8, 5, bias=False)
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = x + block(x).relu()
        return self.head(x)


def go(net, flat, steps, start=0):
    ids, seen = torch.arange(5), []
    for i in range(start, start + steps):
        flat.zero()
        loss = nn.functional.cross_entropy(net(ids).float(), ids.roll(1))
        loss.backward()
        seen.append((loss.item(), flat.step(1.0, i).item()))
    return seen


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 32, 96), (2, 96, 32)])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_muon_makes_singular_values_one_and_keeps_singular_vectors(shape, precision):
    torch.manual_seed(0)
    # Singular values over two decades: what momentum looks like.
    u, _, v = torch.linalg.svd(torch.randn(*shape), full_matrices=False)
    s = torch.logspace(-2, 0, min(shape[1:]))
    x = u * s @ v
    made = orthogonal(x, precision)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.6 and values.max() < 1.2
    # The mean cosine with the nearest orthogonal matrix.
    assert ((made * (u @ v)).sum((1, 2)) / min(shape[1:])).min() > 0.85
    torch.testing.assert_close(orthogonal(1024 * x, precision), made, atol=0.02, rtol=0)


def test_adamw_is_that_of_torch():
    own, known = small(), small()
    training = Training(optimiser="adamw", rate=1e-2, weight_decay=0.1, clip=0.5)
    flat = Flat(own, training)
    matrices = [p for p in known.parameters() if p.ndim > 1]
    others = [p for p in known.parameters() if p.ndim == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=1e-2, betas=(0.9, 0.95)
    )
    x = torch.randn(8, 6)
    for i in range(5):
        flat.zero()
        optimiser.zero_grad()
        own(x).square().sum().backward()
        known(x).square().sum().backward()
        norm = nn.utils.clip_grad_norm_(known.parameters(), 0.5)
        assert flat.step(1.0, i).item() == pytest.approx(norm.item(), rel=1e-5)
        optimiser.step()
    for mine, theirs in zip(own.parameters(), known.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.skipif(optimisers.kernel() is None, reason="no compiler, or a processor without bf16")
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_in_one_pass_it_is_that_of_torch(optimiser, monkeypatch):
    def ends(way):
        monkeypatch.setattr(optimisers, "kernel", way)
        torch.manual_seed(1)
        net = Layers()
        net.idle = nn.Parameter(torch.ones(7))  # has no gradient, and no size that registers like
        flat = Flat(net, Training(optimiser=optimiser, rate=1e-2, clip=0.1, weight_decay=0.1), torch.bfloat16)
        return go(net, flat, 6), flat.state_dict()

    (seen, state), (known, wanted) = ends(optimisers.kernel), ends(lambda: None)
    assert seen[0] == pytest.approx(known[0], rel=1e-5)
    assert torch.equal(state["steps"], wanted["steps"])
    # A gradient is rounded to bf16: a last place of a weight may turn up in one of its own.
    for name, rel in (("master", 1e-3), ("mean", 2e-2), ("square", 2e-2)):
        assert (state[name] - wanted[name]).norm() < rel * wanted[name].norm(), name


class Stack(nn.Module):
    """Three matrices along one axis."""

    stacked = ("w",)

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.w = nn.Parameter(torch.randn(3, 6, 5))  # 30 numbers each: no matrix but the first starts on a cache line


@pytest.mark.parametrize("layers", [1, 2])
def test_muon_takes_each_of_stacked_matrices_by_itself(layers):
    net = nn.ModuleList(nn.ModuleList([Stack()]) for _ in range(layers))
    apart = nn.ModuleList(nn.ModuleList(nn.Linear(5, 6, bias=False) for _ in range(3)) for _ in range(layers))
    g = torch.randn(layers, 3, 6, 5)
    for i in range(layers):
        for e in range(3):
            apart[i][e].weight.data.copy_(net[i][0].w[e].detach())
    one, other = (Flat(n, Training(clip=1e9)) for n in (net, apart))
    for step in range(2):
        for i in range(layers):
            net[i][0].w.grad = g[i].clone()
            for e in range(3):
                apart[i][e].weight.grad = g[i, e].clone()
        one.step(1.0, step)
        other.step(1.0, step)
    for i in range(layers):
        torch.testing.assert_close(net[i][0].w.detach(), torch.stack([m.weight.detach() for m in apart[i]]))


def test_muon_has_the_matrices_of_layers_and_adamw_the_rest():
    net = Layers()
    given = {name for name, p in net.named_parameters() if inner(name, p)}
    assert given == {"blocks.0.weight", "blocks.1.weight"}
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    flat = Flat(net, Training(optimiser="muon", rate=1e-9, muon_rate=0.05, weight_decay=0.0))
    go(net, flat, 1)
    for name, p in net.named_parameters():
        moved = p.detach() - before[name]
        if name in given:
            values = torch.linalg.svdvals(moved) / 0.05
            assert values.max() < 1.2 and values[3] > 0.8  # five ids and a softmax leave a gradient of rank four
        else:
            assert moved.abs().max() < 1e-6


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_resumed_is_undisturbed_bit_for_bit(optimiser, precision):
    training = Training(optimiser=optimiser, rate=1e-2, ema=0.1)
    torch.manual_seed(1)
    net = Layers()
    flat = Flat(net, training, precision)
    go(net, flat, 4)
    state = {name: tensor.clone() for name, tensor in flat.state_dict().items()}
    rest = go(net, flat, 4, start=4)
    torch.manual_seed(2)
    other = Layers()
    again = Flat(other, training, precision)
    again.load_state_dict(state)
    assert go(other, again, 4, start=4) == rest
    for name, tensor in flat.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_a_state_of_other_weights_is_refused():
    flat = Flat(Layers(), Training())
    with pytest.raises(GenusError, match=r"recipe"):
        flat.load_state_dict(Flat(small(), Training()).state_dict())
    with pytest.raises(GenusError, match=r"ema"):
        Flat(Layers(), Training(ema=0.1)).load_state_dict(flat.state_dict())


def test_accumulated_is_the_whole_batch():
    x = torch.randn(8, 6)
    ends = []
    for parts in (1, 4):
        net = small()
        flat = Flat(net, Training(optimiser="adamw"))
        flat.zero()
        for part in x.chunk(parts):
            (net(part).square().sum() / 8).backward()
            flat.gather()
        flat.step(1.0, 0)
        ends.append(flat.numbers.whole())
    torch.testing.assert_close(*ends, atol=1e-6, rtol=1e-5)


def test_a_turn_trains_what_it_was_given_and_leaves_the_rest():
    net = Layers()
    net.embed.weight.requires_grad_(False)
    frozen = net.embed.weight.clone()
    flat = Flat(net, Training(rate=0.1))
    go(net, flat, 2)
    assert torch.equal(net.embed.weight, frozen)
    assert "embed.weight" not in flat.averaged()
    net.requires_grad_(False)
    with pytest.raises(GenusError, match=r"frozen"):
        Flat(net, Training())


def test_a_gradient_that_is_not_finite_changes_nothing():
    net = small()
    flat = Flat(net, Training(ema=0.1))
    before = {name: tensor.clone() for name, tensor in flat.state_dict().items()}
    flat.zero()
    (net(torch.randn(4, 6)).sum() * math.inf).backward()
    assert not math.isfinite(flat.step(1.0, 0))
    assert all(torch.equal(tensor, before[name]) for name, tensor in flat.state_dict().items())


def test_bf16_is_the_master_rounded_and_small_updates_are_not_lost():
    net = small()
    flat = Flat(net, Training(optimiser="adamw", rate=1e-5), torch.bfloat16)
    start = flat.numbers.whole()
    for i in range(30):
        flat.zero()
        net(torch.ones(2, 6, dtype=torch.bfloat16)).float().sum().backward()
        flat.step(1.0, i)
    assert next(net.parameters()).dtype == torch.bfloat16
    assert (flat.numbers.whole() - start).abs().max() > 2e-4  # bf16 alone would have rounded each step of 1e-5 away
    assert torch.equal(flat.numbers.live, flat.numbers.whole().bfloat16())


def test_the_average_is_the_power_function_one_and_swaps_in_and_out():
    net = Layers()
    flat = Flat(net, Training(rate=1e-2, ema=0.25))
    seen = []
    for i in range(12):
        go(net, flat, 1, start=i)
        seen.append(flat.numbers.whole())
    t = torch.arange(1, 13).double()
    weights = t**4 - (t - 1) ** 4  # beta = (1 - 1 / t)^4 gives each step its share of t^4
    mean = (torch.stack(seen).double() * (weights / weights.sum())[:, None]).sum(0)
    torch.testing.assert_close(flat.ema.double(), mean, atol=1e-6, rtol=1e-4)
    name = "blocks.0.weight"
    live = net.blocks[0].weight.clone()
    with flat.swap_ema():
        torch.testing.assert_close(net.blocks[0].weight, flat.averaged()[name])
        assert not torch.equal(net.blocks[0].weight, live)
    assert torch.equal(net.blocks[0].weight, live)


def test_halves_hold_float32_to_the_bit_and_round_to_the_nearest():
    bits = torch.randint(-(2**31), 2**31, (2**16,), generator=torch.Generator().manual_seed(0)).int()
    bits[:8] = torch.tensor([0x3F808000, 0x3F818000, -0x407F8000, 0, -(2**31), 1, 0x3F807FFF, 0x3F808001]).int()
    x = bits.view(torch.float32)
    x = x.where(x.isfinite() & (x.abs() < 1e38), torch.ones(()))
    held = Halves(len(x), torch.bfloat16)
    held.fill(x)
    assert torch.equal(held.whole().view(torch.int32), x.view(torch.int32))
    tie = x.view(torch.int32) & 0xFFFF == 0x8000
    assert torch.equal(held.live[~tie], x.bfloat16()[~tie]) and held.live[:3].tolist() == [
        1.0078125,
        1.015625,
        -1.0078125,
    ]
    plain = Halves(len(x), torch.float32)
    plain.fill(x)
    assert plain.read(3, 5).data_ptr() == plain.live[3:].data_ptr() and torch.equal(plain.whole(), x)
    with pytest.raises(GenusError, match="float16"):
        Halves(1, torch.float16)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_many_weights_are_updated_some_at_a_time(optimiser, precision, monkeypatch):
    """As if at once; clipped by the norm of all."""
    ends = []
    for block, piece in ((1 << 24, 1 << 20), (64, 64), (128, 128)):
        monkeypatch.setattr(optimisers, "BLOCK", block)
        monkeypatch.setattr(optimisers, "PIECE", piece)
        torch.manual_seed(1)
        net = Layers()
        flat = Flat(net, Training(optimiser=optimiser, rate=1e-2, clip=0.1, ema=0.1), precision)
        seen = go(net, flat, 4)
        ends.append((torch.tensor(seen), flat.state_dict()))
    for seen, state in ends[1:]:
        torch.testing.assert_close(seen, ends[0][0])
        for name, tensor in state.items():
            torch.testing.assert_close(tensor, ends[0][1][name], msg=name)
