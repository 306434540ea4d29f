"""Guidance on a predictor that says nothing but its condition."""

import torch

from genus.core import Cond, State
from genus.samplers.guidance import Guidance, Pairs


class Echo:
    """Clean x is the condition, whatever x; counts how large its batches were."""

    def __init__(self):
        self.batches = []

    def __call__(self, x, t=None, cond=Cond(), state=None):
        self.batches.append(x.shape[0])
        return cond.vector[:, :, None].expand(-1, -1, x.shape[2]).clone()

    def start(self, batch, cells):
        return ("state", batch, cells)


def null(batch):
    return Cond(vector=torch.full((batch, 2), 1.0))


X, T = torch.zeros(3, 2, 4), torch.tensor([0.2, 0.5, 0.9])
ASKED = Cond(vector=torch.full((3, 2), 3.0))


def test_scale_one_is_the_plain_predictor():
    echo = Echo()
    assert Guidance(scale=1.0)(echo, null) is echo


def test_it_goes_beyond_the_condition_in_one_doubled_batch():
    echo = Echo()
    y = Guidance(scale=2.5)(echo, null)(X, T, ASKED)
    assert torch.equal(y, torch.full_like(X, 1 + 2.5 * (3 - 1)))
    assert echo.batches == [6]


def test_scale_zero_is_the_null():
    assert torch.equal(Guidance(scale=0.0)(Echo(), null)(X, T, ASKED), torch.ones_like(X))


def test_only_inside_its_interval():
    y = Guidance(scale=2.0, start=0.3, stop=0.8)(Echo(), null)(X, T, ASKED)
    assert y[:, 0, 0].tolist() == [3.0, 5.0, 3.0]
    echo = Echo()
    Guidance(scale=2.0, start=0.95)(echo, null)(X, T, ASKED)
    assert echo.batches == [3]  # nothing to guide: not doubled


def test_a_state_is_for_both_halves():
    state = Guidance(scale=2.0)(Echo(), null).start(3, 7)
    assert state.both == ("state", 6, 7)


def test_rows_of_a_doubled_batch_come_and_go_in_pairs():
    class Rows(State):
        def __init__(self, rows):
            self.rows = list(rows)

        size = 0
        __len__ = lambda self: len(self.rows)  # noqa: E731

        def rewind(self, cells):
            self.rows = [f"{row}{n}" for row, n in zip(self.rows, cells, strict=True)]

        def take(self, rows):
            return Rows(self.rows[i] for i in rows)

        def join(self, other):
            return Rows([*self.rows, *other.rows])

    one, other = Pairs(Rows(["a", "b", "a0", "b0"])), Pairs(Rows(["c", "c0"]))
    both = one.join(other)
    assert len(both) == 3 and both.both.rows == ["a", "b", "c", "a0", "b0", "c0"]
    assert both.take([2, 0]).both.rows == ["c", "a", "c0", "a0"]
    both.rewind([1, 2, 3])
    assert both.both.rows == ["a1", "b2", "c3", "a01", "b02", "c03"]


def test_without_a_condition_nothing_is_guided():
    echo = Echo()
    assert Guidance(scale=2.0)(echo, None) is echo
    assert Guidance(scale=2.0)(echo, lambda batch: Cond()) is echo
