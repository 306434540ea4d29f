"""Where a run stands and what its rate then is."""

import pytest

from genus.recipe import Training
from genus.train.pace import Pace, rate_scale

PLAIN = Training(warmup=0.1, cooldown=0.4)


def test_the_schedule():
    seen = [rate_scale(p, PLAIN) for p in (0, 0.05, 0.1, 0.3, 0.6, 0.8, 1.0, 1.5)]
    assert seen == pytest.approx([0, 0.5, 1, 1, 1, 0.5, 0, 0])


@pytest.mark.parametrize(("warmup", "cooldown"), [(0, 0), (1, 1), (0, 1), (1, 0), (0.7, 0.7)])
def test_at_its_edges(warmup, cooldown):
    training = Training(warmup=warmup, cooldown=cooldown)
    assert all(0 <= rate_scale(i / 10, training) <= 1 for i in range(21))
    assert rate_scale(0.0, training) == (1.0 if warmup == 0 else 0.0)


def test_by_steps_or_by_the_clock():
    assert Pace(200, timed=False).progress(50, 7.0) == 0.25
    assert Pace(20.0, timed=True).progress(50, 7.0) == 0.35


@pytest.mark.parametrize("timed", [True, False])
def test_shortened_the_cooldown_begins_at_once(timed):
    pace = Pace(1000, timed)
    pace.shorten(0.3, 0.4)
    assert pace.progress(300, 300.0) == pytest.approx(0.6)
    before = pace.total
    pace.shorten(0.7, 0.4)  # already cooling down
    pace.shorten(0.6, 0.4)
    assert pace.total == before


def test_shortened_at_the_very_start():
    pace = Pace(10, timed=False)
    pace.shorten(0.0, 0.4)
    assert pace.total == 1


def test_time_before_the_first_step_is_left_out():
    pace = Pace(100.0, timed=True)
    pace.shorten(0.1, 0.4, begun=30.0)  # 37 s in, 7 of them in training
    assert (37 - 30) / (pace.total - 30) == pytest.approx(0.6)
