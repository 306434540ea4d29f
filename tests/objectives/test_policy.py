"""Policies against closed forms: what is earned, the clip, the divergence; a bandit finds its good arm."""

import math
from dataclasses import replace

import pytest
import torch

from genus.codecs.bytes import Bytes
from genus.core import Batch, Model, Network, Noise, Roads, Space
from genus.data.cache import Cache
from genus.dialogue import Message, written
from genus.errors import UsageError
from genus.learned.attempts import AttemptsConfig, advantages, log_probs, questions
from genus.networks.transformer import TransformerConfig
from genus.objectives.policy import Policy
from genus.rewards.match import Match
from genus.run import in_memory
from genus.samplers.tokens import Tokens


class Table(Network):
    """Ids with a parameter each, whatever was read."""

    def __init__(self, logits):
        super().__init__()
        self.space = Space((4,), 1, len(logits))
        self.logits = torch.nn.Parameter(torch.tensor(logits, dtype=torch.float64))

    def forward(self, x, t=None, cond=None, state=None):
        return self.logits.expand(*x.shape, len(self.logits))


def judged(table, x, advantage, mask=None, **extra):
    x = torch.as_tensor(x)[:, None]
    mask = torch.ones_like(x, dtype=torch.bool) if mask is None else torch.as_tensor(mask)[:, None].bool()
    old = table.logits.detach().log_softmax(0)[x]
    weight = torch.tensor(advantage, dtype=torch.float64)
    return Batch(x, mask=mask, weight=weight, extra={"old": old, "reward": weight, **extra})


def gradient(objective, table, batch):
    table.zero_grad()
    loss, told = objective.loss({"net": table}, batch, {}, "main")
    loss.backward()
    return loss.item(), table.logits.grad.clone(), told


@pytest.mark.parametrize("over", ["each", "cells", "answers"])
def test_where_it_was_drawn_the_gradient_is_advantage_times_score(over):
    table = Table([0.1, 0.5, -0.3])
    x, mask, advantage = [[0, 1, 1], [2, 0, 0]], [[1, 1, 1], [1, 0, 0]], [1.0, -0.5]
    _, grad, told = gradient(Policy(over=over), table, judged(table, x, advantage, mask))
    p = table.logits.detach().softmax(0)
    score = torch.eye(3, dtype=torch.float64) - p  # of each id
    sums = [score[0] + 2 * score[1], score[2]]
    shares = {"each": (1 / 6, 1 / 2), "cells": (1 / 4, 1 / 4), "answers": (1 / 2, 1 / 2)}[over]
    expected = -sum(a * s * g for a, s, g in zip(advantage, shares, sums, strict=True))
    assert torch.allclose(grad, expected, atol=1e-9) and told["clipped"] == 0
    number = Policy(over=over).number(judged(table, x, advantage, mask))
    assert number == (4 if over == "cells" else 2)


def test_steps_beyond_the_clip_earn_nothing():
    table = Table([0.0, 0.0])
    batch = judged(table, [[0], [1]], [1.0, -1.0])
    with torch.no_grad():
        table.logits += torch.tensor([1.0, -1.0])  # p: 0.5 -> 0.88 and 0.12
    _, grad, told = gradient(Policy(), table, batch)
    assert told["clipped"] == 1 and grad.abs().max() == 0
    _, grad, _ = gradient(Policy(high=1.0, low=0.9), table, batch)
    assert grad.abs().max() > 0.01
    back = judged(table, [[0], [1]], [-1.0, 1.0])  # moving back is never clipped
    _, grad, told = gradient(Policy(), table, replace(back, extra=batch.extra))
    assert told["clipped"] == 0 and grad[0] > 0


def test_the_divergence_is_zero_at_the_reference_and_right_in_the_mean():
    table = Table([0.4, -0.2, 0.0])
    x = [[0], [1], [2]]
    here = table.logits.detach().log_softmax(0)
    reference = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    ids = torch.as_tensor(x)[:, None]
    loss, _, told = gradient(Policy(kl=1.0), table, judged(table, x, [0.0] * 3, reference=here[ids]))
    assert loss == pytest.approx(0) and told["apart"] == pytest.approx(0)
    far = (reference - here).exp() - (reference - here) - 1
    assert (here.exp() * far).sum() == pytest.approx((here.exp() * (here - reference)).sum().item())
    loss, _, told = gradient(Policy(kl=2.0), table, judged(table, x, [0.0] * 3, reference=reference[ids]))
    assert loss == pytest.approx(2 * far.mean().item()) and told["apart"].item() == pytest.approx(far.mean().item())


def test_what_is_missing_is_said():
    table = Table([0.0, 0.0])
    with pytest.raises(UsageError, match=r"learned\.attempts"):
        Policy().loss({"net": table}, Batch(torch.zeros(1, 1, 1, dtype=torch.long)), {}, "main")
    with pytest.raises(UsageError, match="needs a reference"):
        Policy(kl=0.1).loss({"net": table}, judged(table, [[0]], [1.0]), {}, "main")


def test_updates_share_an_optimiser():
    turns = Policy(updates=3).turns
    assert [turn.name for turn in turns] == ["main", "again1", "again2"] and len({turn.trains for turn in turns}) == 1


@pytest.mark.parametrize("how", ["group", "centred", "leave-one-out"])
def test_a_bandit_finds_its_good_arm(how):
    """Two arms, the good one ten times less likely at first; after 60 steps it is drawn nearly always."""
    table = Table([2.3, 0.0])
    rng = torch.Generator().manual_seed(0)
    for _ in range(60):
        x = torch.multinomial(table.logits.detach().softmax(0), 32, replacement=True, generator=rng)
        weight = torch.cat([advantages(part, how) for part in torch.split((x == 1).float(), 8)])
        _, grad, _ = gradient(Policy(), table, judged(table, x[:, None].tolist(), weight.tolist()))
        with torch.no_grad():
            table.logits -= 1.0 * grad
    assert table.logits.detach().softmax(0)[1] > 0.95


def test_advantages():
    reward = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5])
    for how in ("group", "centred", "leave-one-out"):
        assert advantages(reward, how).sum().abs() < 1e-6 and advantages(torch.ones(4), how).abs().max() == 0
        assert advantages(torch.ones(1), how).tolist() == [0.0]
    others = [(reward.sum() - r) / 4 for r in reward]
    assert torch.allclose(advantages(reward, "leave-one-out"), reward - torch.stack(others))
    assert advantages(reward, "group").std() == pytest.approx(1, abs=1e-3)


class TestAttempts:
    TALKS = (
        [Message("user", "say a"), Message("assistant", "a")],
        [Message("user", "say bb now"), Message("assistant", "bb"), Message("rejected", "c")],
        [Message("user", "x"), Message("assistant", "y"), Message("user", "z")],
        [Message("assistant", "nobody asked")],
    )

    def built(self, **settings):
        source = AttemptsConfig(reward=Match(graded=True), tokens=5, group=4, window=64, **settings)
        codec = Bytes()
        torch.manual_seed(0)
        space = source.space(codec.space)
        net = TransformerConfig(depth=2, width=32, head=16).build(space, Roads())
        for weight in net.parameters():
            torch.nn.init.normal_(weight, std=0.1)
        model = Model(codec, space, torch.nn.ModuleDict({"net": net}), Policy(), Tokens(temperature=0.5), prompt="turn")
        cache: Cache = in_memory(codec, [*map(written, self.TALKS), "plain"], source)
        return source, cache, model, source.over(cache, codec, 0, 8).of(model)

    def test_questions_are_asked_up_to_the_last_answer(self):
        _, cache, _, _ = self.built()
        found = [(len(q.asked), q.asked[-1].text, q.reference, q.name) for q in questions(cache)]
        assert found == [(1, "say a", "a", "0"), (1, "say bb now", "bb", "1"), (3, "z", "", "2")]

    def test_a_batch_is_a_function_of_step_and_weights(self):
        _, _, model, source = self.built()
        some, again, other = source.batch(3), source.batch(3), source.batch(4)
        assert torch.equal(some.x, again.x) and torch.equal(some.extra["old"], again.extra["old"])
        assert some.x.shape != other.x.shape or not torch.equal(some.x, other.x)
        assert some.ids[:4] == some.ids[:1] * 4 and some.ids[0] != some.ids[4]
        assert some.mask.sum((1, 2)).min() >= 1 and some.mask.sum((1, 2)).max() <= 5
        with torch.no_grad():
            for weight in model.nets.parameters():
                weight.mul_(3.0)
        moved = source.batch(3)
        assert moved.x.shape != some.x.shape or not torch.equal(moved.x, some.x)

    def test_old_is_what_the_policy_gave_and_the_first_ratio_is_one(self):
        _, _, model, source = self.built()
        some = source.batch(0)
        loss, told = Policy().loss(model.nets, some, {}, "main")
        assert told["clipped"] == 0 and loss.item() == pytest.approx(-some.weight.mean().item(), abs=1e-5)
        whole = model.objective.log_prob(model.nets, some, Noise(0)).nats
        assert torch.allclose((some.extra["old"] * some.mask).sum((1, 2)), whole.float(), atol=1e-4)
        assert torch.equal(log_probs(model, some.x), some.extra["old"])

    def test_answers_are_drawn_unfiltered(self):
        _, _, model, source = self.built()
        noise = Noise(0).child("attempts").of(range(8))
        asked = [next(q.asked for q in source.questions if q.name == name) for name in source.batch(0).ids]
        x, _ = model.answers(noise, asked, 5, temperature=1.0)
        assert torch.equal(x, source.batch(0).x)

    def test_a_window_that_is_too_small_is_said(self):
        source, cache, model, _ = self.built()
        small = source.but(window=30)
        with pytest.raises(UsageError, match=r"cells, but source\.window = 30"):
            small.over(cache, model.codec, 0, 8).of(replace(model, space=small.space(model.codec.space))).batch(0)

    def test_scoring_is_that_of_conversations(self):
        source, cache, model, _ = self.built()
        found = {name for batch in source.once(cache, model.codec, 4) for name in batch.ids}
        assert found == {"0", "1", "2", "3", "4"} and list(source.judged(cache, model.codec, 4)) == []
        assert math.isfinite(source.samples(cache))
