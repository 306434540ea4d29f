"""Answers judged by themselves: the written formula, what all gain alike, and where each answer stands in a batch."""

from __future__ import annotations

import pytest
import torch
import toys

from genus.codecs.bytes import Bytes
from genus.core import Batch, Network, Space
from genus.dialogue import Message, written
from genus.errors import UsageError
from genus.learned.preferences import log_probs
from genus.learned.verdicts import VerdictsConfig
from genus.objectives.unpaired import Unpaired
from genus.run import assemble, in_memory, load_model, save

GOOD = torch.tensor([1.0, 0.0, 1.0, 0.0])


class Table(Network):
    """One cell, four ids, whatever was read: a policy with a parameter an id."""

    space = Space((1,), 1, 4)

    def __init__(self, logits=(0.3, -0.2, 0.1, 0.0)):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits, dtype=torch.float64))

    def forward(self, x, t=None, cond=None, state=None):
        return self.logits.expand(*x.shape, 4)


def batch(reference, others=(1, 1, 3, 1)):
    x, other = torch.tensor([0, 1, 2, 1])[:, None, None], torch.tensor(others)[:, None, None]
    mask = torch.ones_like(x, dtype=torch.bool)
    extra = {"reference": reference[x].flatten(), "other_reference": reference[other].flatten()}
    return Batch(x, mask=mask, extra={**extra, "good": GOOD, "other": other, "other_said": mask})


@pytest.mark.parametrize("others", [(1, 1, 3, 1), (0, 0, 2, 2)])
def test_gradients_are_those_of_the_written_formula(others):
    table = Table()
    reference = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64).log()
    some = batch(reference, others)
    loss, told = Unpaired(beta=0.7, wanted=1.3, unwanted=0.8).loss({"net": table}, some, {}, "main")
    loss.backward()
    z = table.logits.detach().requires_grad_()
    gained = z.log_softmax(0) - reference
    apart = max(0.0, gained.detach()[list(others)].mean().item())
    assert told["apart"].item() == pytest.approx(apart) and (apart > 0) == (others == (0, 0, 2, 2))
    own = gained[some.x.flatten()]
    each = [1.3 / (1 + torch.exp(0.7 * (own[i] - apart))) for i in (0, 2)]
    each += [0.8 / (1 + torch.exp(0.7 * (apart - own[i]))) for i in (1, 3)]
    expected = torch.stack(each).mean()
    (grad,) = torch.autograd.grad(expected, z)
    assert loss.item() == pytest.approx(expected.item()) and torch.allclose(table.logits.grad, grad, atol=1e-7)
    assert told["good"].item() == pytest.approx((own[0] + own[2]).item() / 2)


def test_good_gains_and_bad_loses():
    table = Table((0.0, 0.0, 0.0, 0.0))
    some = batch(table.logits.detach().log_softmax(0))
    optimiser = torch.optim.SGD([table.logits], lr=5.0)
    for _ in range(100):
        optimiser.zero_grad()
        Unpaired().loss({"net": table}, some, {}, "main")[0].backward()
        optimiser.step()
    p = table.logits.detach().softmax(0)
    assert p[1] < 0.02 and p[0] > 0.3 and p[2] > 0.3


def test_what_is_missing_is_said():
    with pytest.raises(UsageError, match=r"learned\.verdicts"):
        Unpaired().loss({"net": Table()}, Batch(torch.zeros(1, 1, 1, dtype=torch.long)), {}, "main")
    assert Unpaired().whole


TALKS = (
    [Message("user", "q"), Message("assistant", "good")],
    [Message("user", "rr"), Message("rejected", "bad one")],
    [Message("user", "s"), Message("assistant", "yes"), Message("rejected", "no")],
)


def test_rows_hold_the_answer_and_another_ones(tmp_path):
    phase = toys.text_phase()
    torch.manual_seed(0)
    save(assemble(phase, Bytes()), phase, tmp_path / "sft")
    source = VerdictsConfig(phase="sft", window=64).after({"sft": tmp_path / "sft"})
    cache = in_memory(Bytes(), [*map(written, TALKS), "plain"], source)
    some = next(iter(source.judged(cache, Bytes(), 8)))

    def spelt(x, said):
        return [bytes(i if i < 256 else 36 for i in row[kept].tolist()) for row, kept in zip(x, said, strict=True)]

    answers = [b"good$", b"bad one$", b"yes$", b"no$"]
    assert spelt(some.x, some.mask) == answers and some.extra["good"].tolist() == [1, 0, 1, 0]
    assert spelt(some.extra["other"], some.extra["other_said"]) == [answers[-1], *answers[:-1]]
    assert bytes(some.extra["other"][1, 0, :30].tolist()).startswith(b"<|user|>\nrr\n<|assistant|>\ngood")
    model = load_model(tmp_path / "sft")[0]
    alone = Batch(some.extra["other"][1:2], mask=some.extra["other_said"][1:2])
    assert some.extra["other_reference"][1].item() == pytest.approx(log_probs(model, alone).item(), rel=1e-5)
    with pytest.raises(UsageError, match="both good and bad"):
        source.over(in_memory(Bytes(), [written(TALKS[0])], source), Bytes(), 0, 4)
