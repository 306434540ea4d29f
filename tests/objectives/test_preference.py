"""Preferences against closed forms: a table of probabilities has a best policy that can be written down."""

import math

import pytest
import torch

from genus.codecs.bytes import Bytes
from genus.core import Batch, Network, Space
from genus.dialogue import Message, written
from genus.errors import UsageError
from genus.learned.preferences import PreferencesConfig
from genus.objectives.preference import Preference
from genus.objectives.reward import Reward
from genus.run import in_memory

PAIRS = torch.tensor([[0, 1], [0, 1], [0, 1], [1, 0]])  # which of two answers was preferred: 3 to 1


class Table(Network):
    """One cell, four ids, whatever was read: a policy with a parameter an id."""

    space = Space((1,), 1, 4)

    def __init__(self, logits=(0.3, -0.2, 0.1, 0.0)):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits, dtype=torch.float64))

    def forward(self, x, t=None, cond=None, state=None):
        return self.logits.expand(*x.shape, 4)


def batch(table, pairs=PAIRS, reference=True):
    x, said = pairs[:, None], torch.ones(len(pairs), 1, 1, dtype=torch.bool)
    log_p = table.logits.detach().log_softmax(0)[pairs] if reference else None
    extra = {"said": said, "rejected": x[:, :, 1:], "rejected_said": said}
    return Batch(x[:, :, :1], extra=extra if log_p is None else {**extra, "reference": log_p})


def gradient(objective, table, some):
    table.zero_grad()
    loss, told = objective.loss({"net": table}, some, {}, "main")
    loss.backward()
    return loss, table.logits.grad.clone(), told


def test_the_first_loss_and_its_gradient():
    """At the reference the loss is log 2, and the gradient is -beta / 2 of (better - worse)."""
    table = Table()
    loss, grad, told = gradient(Preference(beta=0.3), table, batch(table))
    assert loss.item() == pytest.approx(math.log(2)) and told["margin"] == 0
    assert grad.tolist() == pytest.approx([-0.3 / 2 * 0.5, 0.3 / 2 * 0.5, 0, 0])


@pytest.mark.parametrize(
    "knobs",
    [{}, {"smoothing": 0.1}, {"margin": 0.5}, {"shape": "squared"}, {"anchored": False}, {"imitation": 0.8}],
)
def test_gradients_are_those_of_the_written_formula(knobs):
    table, beta = Table(), 0.7
    some = batch(table)
    with torch.no_grad():
        table.logits += torch.tensor([0.5, 0.2, -0.4, 0.1])
    _, grad, _ = gradient(Preference(beta=beta, **knobs), table, some)
    z = table.logits.detach().requires_grad_()
    reference = some.extra["reference"] if knobs.get("anchored", True) else 0.0
    gained = z.log_softmax(0)[PAIRS] - reference
    d = gained[:, 0] - gained[:, 1]
    h, e = beta * d - knobs.get("margin", 0.0), knobs.get("smoothing", 0.0)
    each = -(1 - e) * torch.log(1 / (1 + torch.exp(-h))) - e * torch.log(1 / (1 + torch.exp(h)))
    each = (d - 1 / (2 * beta)) ** 2 if "shape" in knobs else each
    each = each - knobs.get("imitation", 0.0) * z.log_softmax(0)[PAIRS][:, 0]
    (expected,) = torch.autograd.grad(each.mean(), z)
    assert torch.allclose(grad, expected, atol=1e-7)


def test_imitation_is_a_mean_over_the_cells_of_the_better_answer():
    class Row(Network):
        space = Space((3,), 1, 4)

        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))

        def forward(self, x, t=None, cond=None, state=None):
            return self.logits.expand(*x.shape, 4)

    net, x = Row(), torch.tensor([[[1, 2, 3]]])
    said = torch.tensor([[[False, True, True]]])
    some = Batch(x, extra={"said": said, "rejected": x + 0, "rejected_said": said, "reference": torch.zeros(1, 2)})
    plain, more = (Preference(imitation=share).loss({"net": net}, some, {}, "main")[0] for share in (0.0, 2.0))
    log_p = net.logits.log_softmax(-1)
    assert (more - plain).item() == pytest.approx(-2.0 * (log_p[1, 2] + log_p[2, 3]).item() / 2, rel=1e-5)


def test_the_optimum_is_the_reference_times_what_was_preferred():
    """p* is r exp(reward / beta), and the reward's difference is the log odds of being preferred: log 3."""
    table, beta = Table(), 0.5
    some = batch(table)
    before = table.logits.detach().log_softmax(0)
    optimiser = torch.optim.LBFGS([table.logits], lr=0.5, max_iter=200, tolerance_grad=1e-10, tolerance_change=1e-12)

    def closure():
        optimiser.zero_grad()
        loss, _ = Preference(beta=beta).loss({"net": table}, some, {}, "main")
        loss.backward()
        return loss

    optimiser.step(closure)
    gained = table.logits.detach().log_softmax(0) - before
    assert (gained[0] - gained[1]).item() == pytest.approx(math.log(3) / beta, abs=1e-3)


def test_length_does_not_pay_where_it_is_normalised():
    x = torch.tensor([[[0, 0, 0, 0]], [[0, 0, 0, 0]]])
    said = torch.tensor([[[1, 1, 1, 1]], [[1, 0, 0, 0]]]).bool()
    some = Batch(x[:1], extra={"said": said[:1], "rejected": x[1:], "rejected_said": said[1:]})
    loss, _, told = gradient(Preference(anchored=False, normalised=True, beta=2.0, margin=1.0), Table(), some)
    assert told["margin"] == pytest.approx(0, abs=1e-7) and loss.item() == pytest.approx(math.log(1 + math.e))
    _, _, told = gradient(Preference(anchored=False), Table(), some)
    assert told["margin"] < -1


def test_what_is_missing_is_said():
    table = Table()
    with pytest.raises(UsageError, match="measures from a reference"):
        Preference().loss({"net": table}, batch(table, reference=False), {}, "main")
    for objective in (Preference(), Reward()):
        with pytest.raises(UsageError, match=r"learned\.preferences"):
            objective.loss({"net": table}, Batch(torch.zeros(1, 1, 1, dtype=torch.long)), {}, "main")


class Reader(Network):
    """The logit of the end mark is the sum of what was read: a reward that is known."""

    space = Space((8,), 1, 4)

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x, t=None, cond=None, state=None):
        read = torch.where(x == 4, 0, x).cumsum(-1).float() * self.scale
        return torch.nn.functional.one_hot(torch.tensor(3), 4) * read[..., None]


def test_a_reward_is_read_where_the_answer_ends():
    net = Reader()
    x = torch.tensor([[[1, 2, 2, 3, 0, 0]], [[1, 1, 3, 0, 0, 0]]])
    said = torch.tensor([[[0, 1, 1, 1, 0, 0]], [[0, 1, 1, 0, 0, 0]]]).bool()
    assert Reward().predictor({"net": net}).worth(x, said).tolist() == [2.5, 1.0]
    some = Batch(x[:1], extra={"said": said[:1], "rejected": x[1:], "rejected_said": said[1:]})
    loss, told = Reward(centre=0.1).loss({"net": net}, some, {}, "main")
    assert told["loss"].item() == pytest.approx(math.log(1 + math.exp(-1.5))) and told["preferred"] == 1
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.5)) + 0.1 * 3.5**2)


class TestSource:
    TALKS = (
        [
            Message("user", "q"),
            Message("assistant", "one"),
            Message("user", "r"),
            Message("assistant", "good"),
            Message("rejected", "bad one"),
        ],
        [Message("user", "s"), Message("assistant", "yes"), Message("rejected", "no")],
        [Message("user", "t"), Message("assistant", "alone")],
        [Message("user", "t"), Message("rejected", "alone")],
    )

    def pairs(self, window=64):
        codec, source = Bytes(), PreferencesConfig(window=window)
        cache = in_memory(codec, [*map(written, self.TALKS), "plain"], source)
        return next(iter(source.judged(cache, codec, 8)))

    @pytest.mark.parametrize("window", [64, 9])
    def test_only_the_last_answers_of_pairs_count(self, window):
        some = self.pairs(window)
        assert some.ids == ["0", "1"] and some.mask is None and Preference().number(some) == 2

        def spelt(x, said):
            return [bytes(i if i < 256 else 36 for i in row[kept].tolist()) for row, kept in zip(x, said, strict=True)]

        assert spelt(some.x, some.extra["said"]) == [b"good$", b"yes$"]
        assert spelt(some.extra["rejected"], some.extra["rejected_said"]) == [b"bad one$", b"no$"]
