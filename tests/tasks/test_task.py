"""Intervals, examples and limits."""

import numpy as np
import pytest
from scipy.stats import binomtest
from task_toys import Given, examinee, heart

from genus.errors import UsageError
from genus.tasks.drawn import Drawn
from genus.tasks.task import Form, Item, Score, bootstrap, mean, rate, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 10), (10, 10), (480, 1000)])
def test_wilson_is_the_published_interval(hits, n):
    peer = binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert wilson(hits, n) == pytest.approx((peer.low, peer.high), abs=1e-6)


@pytest.mark.parametrize("n", range(1, 60))
def test_none_of_many_is_not_above_none(n):
    assert wilson(0, n)[0] == 0.0 and wilson(n, n)[1] == 1.0 and wilson(0, n)[1] > 0 and wilson(n, n)[0] < 1


def test_a_share_has_wilsons_interval_and_other_figures_a_bootstrap():
    hits = np.array([1.0, 0.0, 1.0, 1.0])
    found = Score("accuracy", (hits,)).finding()
    assert (found.value, found.low, found.high) == (0.75, *wilson(3, 4))
    rng = np.random.default_rng(0)
    values = rng.normal(3, 1, 400)
    low, high = bootstrap(mean, (values,))
    assert low is not None and high is not None
    assert low == pytest.approx(values.mean() - 1.96 / 20, abs=0.03)
    assert high == pytest.approx(values.mean() + 1.96 / 20, abs=0.03)
    assert bootstrap(mean, (values[:1],)) == (None, None)


def test_items_that_do_not_count_are_left_out():
    values = np.array([1.0, np.nan, 0.0, np.nan])
    assert Score("accuracy", (values,)).finding().value == 0.5
    assert Score("accuracy", (values,)).finding(np.array([True, True, False, True])).value == 1.0
    bits = Score("bits", (np.array([8.0, 2.0]), np.array([1.0, 9.0])), rate)
    assert bits.finding().value == 1.0


ITEMS = tuple((f"q{i}", f"a{i}") for i in range(12))


def test_what_is_shown_is_not_asked_and_a_limit_asks_the_same():
    net = examinee(heart({}))
    task = Drawn(name="t", items=Given(asked=ITEMS))
    bare, _ = task.but(limit=5).picked(net)
    asked, shown = task.but(limit=5, shots=4).picked(net)
    assert [item.asked for item in asked] == [item.asked for item in bare]
    assert len(shown) == 4 and not {i.asked for i in shown} & {i.asked for i in asked}
    every, _ = task.but(shots=4).picked(net)
    assert len(every) == 8
    with pytest.raises(UsageError, match="examples to show"):
        task.but(shots=7).picked(net)
    with pytest.raises(UsageError, match="nothing to ask"):
        Drawn(name="t", items=Given()).picked(net)


def test_examples_of_their_own_come_first():
    task = Drawn(name="t", items=Given(asked=ITEMS, shown=(("e0", "x"), ("e1", "y"))), shots=1)
    asked, shown = task.picked(examinee(heart({})))
    assert len(asked) == 12 and [item.asked for item in shown] == ["e0"]


def test_a_form_is_text_and_turns():
    said = Form(system="Be brief.").prompt("2?", [Item("1?", "one", worked="It is one.")])
    assert said.text == "Be brief.\n\nQuestion: 1?\nAnswer: It is one.\n\nQuestion: 2?\nAnswer:"
    assert [role for role, _ in said.messages] == ["system", "user", "assistant", "user"]
