"""A tiny source of known distribution: guessed in one round or many, bounded by its entropy."""

import math

import pytest
import torch
from torch import nn

from genus.core import Batch, Cond, Known, Noise, Roads, Space
from genus.errors import UsageError
from genus.networks.transformer import TransformerConfig
from genus.objectives.masked import Masked, hidden
from genus.samplers.rounds import Rounds

SPACE = Space((4,), 1, 3)
START, STAY = torch.tensor([0.5, 0.3, 0.2]), 0.8  # a Markov chain of four cells: stays, or moves to one of the others


def chains(n, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = [torch.multinomial(START, n, replacement=True, generator=draw)]
    for _ in range(3):
        moves = torch.rand(n, generator=draw) >= STAY
        x.append(torch.where(moves, (x[-1] + torch.randint(1, 3, (n,), generator=draw)) % 3, x[-1]))
    return torch.stack(x, 1)[:, None]


def log_p(x):
    x = x[:, 0]
    same = (x[:, 1:] == x[:, :-1]).double()
    return START.double().log()[x[:, 0]] + (same * math.log(STAY) + (1 - same) * math.log((1 - STAY) / 2)).sum(1)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    net = TransformerConfig(depth=2, width=48, head=16, causal=False).build(SPACE, Roads())
    nets, masked = nn.ModuleDict({"net": net}), Masked(schedule="even")
    optimiser = torch.optim.Adam(nets.parameters(), lr=3e-3)
    for step in range(400):
        batch, noise = Batch(chains(128, step)), Noise(1, tuple(range(step * 128, step * 128 + 128)))
        loss, _ = masked.loss(nets, batch, masked.draws(nets, batch, "main", noise), "main")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * (1 - step / 400)
    return nets.eval()


def counts(x):
    return torch.bincount((x[:, 0] * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81).double() / len(x)


def test_one_cell_a_round_draws_the_distribution(trained):
    drawn = Rounds(steps=8, choice=100.0)(trained["net"], SPACE, Cond(), Noise(2, tuple(range(3000))))
    real, other = counts(chains(3000, 91)), counts(chains(3000, 92))
    assert (counts(drawn) - real).abs().sum() < (other - real).abs().sum() + 0.12
    alone = Rounds(steps=8, choice=100.0)(trained["net"], SPACE, Cond(), Noise(2, (41,)))
    assert torch.equal(alone, drawn[41:42])


def test_all_at_once_loses_what_binds_them(trained):
    drawn = Rounds(steps=1)(trained["net"], SPACE, Cond(), Noise(2, tuple(range(3000))))
    assert (counts(drawn) - counts(chains(3000, 91))).abs().sum() > 0.4


def test_the_bound_holds_and_is_near(trained):
    x = chains(400, 77)
    found = Masked(looks=64).log_prob(trained, Batch(x), Noise(5, tuple(range(400))))
    exact = log_p(x)
    assert not found.exact and found.error is not None
    gap = float((exact - found.nats).mean())
    assert -0.05 < gap < 0.25  # per sample of entropy 2.9 nats; a model that guesses evenly is 1.5 away
    assert float((found.nats - exact).std()) < 8 * float(found.error.mean())


def test_known_cells_stay(trained):
    x = chains(200, 5)
    mask = torch.zeros_like(x, dtype=torch.bool)
    mask[:, :, 1] = True
    drawn = Rounds(steps=6)(trained["net"], SPACE, Cond(), Noise(2, tuple(range(200))), Known(x, mask))
    assert torch.equal(drawn[mask], x[mask])
    assert (drawn[:, 0, 2] == x[:, 0, 1]).float().mean() > 0.6  # they are listened to
    everything = Known(x, torch.ones_like(mask))
    assert torch.equal(Rounds()(trained["net"], SPACE, Cond(), Noise(2, tuple(range(200))), everything), x)


def test_so_many_are_hidden_as_the_rate_says():
    noise = Noise(1, tuple(range(500)))
    mask = hidden(noise.uniform(0, (1, 4, 4)), torch.linspace(0, 1, 500).double())
    number = mask.flatten(1).sum(1)
    assert number[0] == 1 and number[-1] == 16
    assert torch.equal(number, (torch.linspace(0, 1, 500).double() * 16).ceil().clamp(min=1).long())
    many = Masked().draws({}, Batch(torch.zeros(500, 1, 4, 4)), "main", noise)["hidden"]
    assert many.float().mean() == pytest.approx(2 / math.pi, abs=0.05)
    one = Masked().draws({}, Batch(torch.zeros(1, 1, 4, 4)), "main", noise.of([37]))["hidden"]
    assert torch.equal(one, many[37:38])


def test_only_hidden_cells_that_count_count(trained):
    x, draw = chains(8, 3), {"hidden": torch.zeros(8, 1, 4, dtype=torch.bool)}
    draw["hidden"][:, :, 2] = True
    loss, _ = Masked().loss(trained, Batch(x), draw, "main")
    by_hand = trained["net"](torch.where(draw["hidden"], 3, x)).log_softmax(-1)[:, 0, 2]
    torch.testing.assert_close(loss, -by_hand.gather(1, x[:, 0, 2:3]).mean())
    none = Batch(x, mask=~draw["hidden"])
    assert float(Masked().loss(trained, none, draw, "main")[0].detach()) == 0


def test_pictures_are_refused():
    net = TransformerConfig(depth=1, width=16, head=8, causal=False).build(Space((4,), 1), Roads())
    with pytest.raises(UsageError, match="needs tokens"):
        Masked().predictor({"net": net})
    with pytest.raises(UsageError, match="vocabulary"):
        Rounds()(net, Space((4,), 1), Cond(), Noise(0))
