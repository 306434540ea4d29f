"""Experts: what they say in training is what the papers define, of each sample alone; a full one drops the last."""

import math

import pytest
import torch

from genus.core import listening
from genus.networks.experts import Experts


def made(capacity=None, number=4, chosen=2, **terms):
    torch.manual_seed(0)
    experts = Experts(8, 12, number, chosen, True, 0, capacity=capacity, **terms)
    torch.nn.init.normal_(experts.down, std=0.3)
    torch.nn.init.normal_(experts.router.weight, std=1.0)
    return experts, torch.randn(3, 10, 8)


def said(experts, x):
    with listening() as asides:
        y = experts(x)
    return y, {a.name: a.each for a in asides}


def test_terms_are_those_of_the_papers():
    experts, x = made(capacity=1.0)
    _, told = said(experts, x)
    for b in range(3):
        logits = x[b] @ experts.router.weight.T
        p, asked, dropped = logits.softmax(-1), [0] * 4, 0
        for i in range(10):
            for e in p[i].topk(2).indices.tolist():
                asked[e] += 1
                dropped += asked[e] > math.ceil(1.0 * 20 / 4)
        balance = 4 * sum(asked[e] / 20 * p[:, e].mean() for e in range(4))
        assert told["balance"][b].item() == pytest.approx(balance.item(), rel=1e-5)
        assert told["router_z"][b].item() == pytest.approx(logits.exp().sum(-1).log().square().mean().item(), rel=1e-5)
        assert told["dropped"][b].item() == pytest.approx(dropped / 20)
    assert told["dropped"].sum() > 0


def test_a_sample_trains_the_same_alone_and_by_its_past():
    experts, x = made(capacity=1.0)
    y, told = said(experts, x)
    for b in range(3):
        alone, mine = said(experts, x[b : b + 1])
        torch.testing.assert_close(alone[0], y[b])
        for name, each in told.items():
            torch.testing.assert_close(mine[name][0], each[b])
    other = x.clone()
    other[:, 6:] = torch.randn(3, 4, 8)
    torch.testing.assert_close(said(experts, other)[0][:, :6], y[:, :6])  # nothing is dropped for what comes later


def test_what_is_dropped_adds_nothing():
    experts, x = made(capacity=1.0, number=4, chosen=1)
    torch.nn.init.zeros_(experts.router.weight)
    experts.router.weight.data[2] = 9 * x.mean((0, 1)).sign()
    x = x.abs() * x.mean((0, 1)).sign()  # all ask the third
    y, told = said(experts, x)
    assert told["dropped"].tolist() == pytest.approx([0.7] * 3)  # it takes ceil(10 / 4) of each sample
    assert (y[:, :3] != 0).any(-1).all() and (y[:, 3:] == 0).all()


def test_outside_of_training_nothing_is_dropped_or_said():
    experts, x = made(capacity=1.0)
    plain, _ = made()
    y, told = said(experts.eval(), x)
    assert not told and torch.equal(y, plain.eval()(x))
    assert not torch.equal(experts.train()(x), y)  # full experts bind whether or not anyone listens


def test_the_balance_spreads_what_is_asked():
    experts, x = made(chosen=1)
    experts.router.weight.data[0] += 3 * x.mean((0, 1))
    _, before = said(experts, x)
    for _ in range(60):
        _, told = said(experts, x)
        (g,) = torch.autograd.grad(told["balance"].mean(), experts.router.weight)
        experts.router.weight.data -= 0.5 * g
    assert told["balance"].mean() < 0.8 * before["balance"].mean()
