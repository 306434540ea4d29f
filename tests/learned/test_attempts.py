"""Learning from own attempts through the one loop, on ten bandits of ten arms whose policy can be read off a table."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from genus.codecs.characters import CharactersConfig
from genus.core import Model, Network
from genus.data.cache import Cache
from genus.dialogue import Message, written
from genus.learned.attempts import AttemptsConfig
from genus.objectives.policy import Policy
from genus.recipe import Training
from genus.rewards.match import Match
from genus.run import in_memory
from genus.train.loop import Loop
from genus.train.meter import Meter
from genus.train.pace import Pace
from genus.watch import Silent

CODEC = CharactersConfig(alphabet="\n0123456789<>aeinrstu|").load(None)
ZERO, END = 17, CODEC.space.stops[0]
TALKS = [written([Message("user", str(i)), Message("assistant", str(9 - i))]) for i in range(10)]
ASKED, ANSWERED = 10, 25  # where the digit that is asked stands behind the begin mark; the first cell of an answer


class Arms(Network):
    """Asked a digit, it says one of ten by a row of logits, and then ends or says 0."""

    def __init__(self, space) -> None:
        super().__init__()
        self.space = space
        self.first, self.more = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((10, 10), (2,)))

    def forward(self, x, t=None, cond=None, state=None):
        logits = torch.full((*x.shape, self.space.vocab), -40.0)
        logits[:, 0, ANSWERED, ZERO : ZERO + 10] = self.first[x[:, 0, ASKED] - ZERO]
        logits[:, 0, ANSWERED + 1 :, ZERO], logits[:, 0, ANSWERED + 1 :, END] = self.more
        return logits

    @property
    def passes(self) -> float:
        """The chance of the right digit and nothing behind it, exactly."""
        right = self.first.detach().softmax(1).flip(1).diagonal().mean()
        return float(right * self.more.detach().softmax(0)[1])


def taught(folder, judged=lambda batch: batch, steps=25, **settings):
    source = AttemptsConfig(reward=Match(), tokens=3, group=16, window=64)
    space = source.space(CODEC.space)
    objective, training = Policy(**settings), Training(batch=160, rate=0.2, warmup=0.0, weight_decay=0.0)
    arms = Arms(space)
    model = Model(CODEC, space, torch.nn.ModuleDict({"net": arms}), objective, objective.sampler(), prompt="turn")
    cache: Cache = in_memory(CODEC, TALKS, source)

    class Judged:
        def __init__(self, inner) -> None:
            self.inner = inner

        def of(self, model):
            return Judged(self.inner.of(model))

        def batch(self, step):
            return judged(self.inner.batch(step))

    loop = Loop(
        "grpo", model, training, Judged(source.over(cache, CODEC, 0, 160)), lambda: iter(()), Pace(steps, False),
        torch.float32, folder, Meter(), Silent(), objective.loss,
    )  # fmt: skip
    assert arms.passes == pytest.approx(0.05)
    for _ in range(steps):
        loop.step()
    return arms.passes


@pytest.mark.parametrize("settings", [{}, {"over": "cells"}, {"over": "answers"}, {"updates": 2}])
def test_it_learns_what_is_rewarded(tmp_path, settings):
    assert taught(tmp_path, **settings) > 0.8


def test_it_does_not_where_the_sign_or_the_mask_is_wrong(tmp_path):
    """What the test above would miss if it passed by itself."""
    assert taught(tmp_path, lambda batch: replace(batch, weight=-batch.weight), 20) < 0.05
    # Cells behind an end count then, so it learns to end; which digit is right is never learned: a tenth at most.
    assert taught(tmp_path, lambda batch: replace(batch, mask=~batch.mask), 20) <= 0.1


def test_an_answer_counts_to_its_end_mark_and_no_further(tmp_path):
    def looked(batch):
        for x, mask in zip(batch.x[:, 0].tolist(), batch.mask[:, 0], strict=True):
            said = x[ANSWERED:]
            length = said.index(END) + 1 if END in said[:3] else 3
            assert mask.nonzero().flatten().tolist() == list(range(ANSWERED, ANSWERED + length))
        return batch

    taught(tmp_path, looked, 2)


class TestDistance:
    def source(self, **settings):
        return AttemptsConfig(reward=Match(), phase="sft", **settings)

    def test_a_nat_costs_what_it_costs(self):
        reward, far = torch.tensor([1.0, 0.0]), torch.tensor([3.0, -1.0])
        assert self.source().worth(reward, far).tolist() == [1.0, 0.0]
        assert self.source(kl=0.5).worth(reward, far).tolist() == [-0.5, 0.5]

    def test_beyond_the_budget_nearness_alone_counts(self):
        reward, far = torch.tensor([1.0, 0.0]), torch.tensor([3.0, -1.0])
        assert self.source(budget=1.0, kl=0.5).worth(reward, far).tolist() == [-0.5, 0.5]
        assert self.source(budget=0.9, kl=0.5).worth(reward, far).tolist() == [-3.0, 1.0]

    @pytest.mark.parametrize("settings", [{"kl": 0.1}, {"budget": 1.0}])
    def test_it_counts_from_a_reference(self, settings):
        with pytest.raises(ValueError, match=r"name its phase \(source\.phase\)"):
            AttemptsConfig(reward=Match(), **settings)
        AttemptsConfig(reward=Match(), phase="sft", **settings)
