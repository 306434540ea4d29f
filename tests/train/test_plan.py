"""Choosing a size where the machine is busy now and then."""

from types import SimpleNamespace

import pytest
import toys

from genus.train.plan import Speed, _sized, allowed, undisturbed
from genus.train.sizing import SizingConfig
from genus.watch import Silent

WEIGHTS = {1: 100_000, 2: 300_000, 3: 900_000, 4: 2_700_000}
SIZING = SizingConfig(dials=(1, 2, 3, 4), sample=1, floor=0.0, a=100.0, alpha=0.5, b=60.0, beta=0.5, batch=(32, 32))


class Machine:
    """A bench on which a step takes a second a million weights and 32 samples; slow: the timings that are disturbed."""

    def __init__(self, slow=()):
        self.cache, self.codec = SimpleNamespace(total=10**9), SimpleNamespace(streams=True)
        self.slow, self.timed = slow, []

    def speed(self, phase, few):
        dial = phase.nets["net"].widths[0] // 8
        self.timed.append(dial)
        seconds = WEIGHTS[dial] / 1e6 * (4 if len(self.timed) in self.slow else 1)
        return Speed((16, 32), (seconds / 2, seconds), 1.0, WEIGHTS[dial])


def chosen(machine):
    phase = toys.image_phase().but(sizing=SIZING)
    sized, speed = _sized(phase, machine, 64, 2000.0, 16, 2000.0, [], Silent())
    return sized.nets["net"].widths[0] // 8, speed


def test_a_line_through_two_timings():
    speed = Speed((8, 32), (1.0, 2.5), 1.0, 10)
    assert speed.each == pytest.approx(1 / 16) and speed.step(20) == pytest.approx(1.75)
    assert speed.step(32) == pytest.approx(2.5)
    assert Speed((8, 16), (1.0, 1.0), 1.0, 10).each == pytest.approx(0.025)  # more samples are never free
    assert speed.least(Speed((8, 32), (2.0, 2.0), 1.0, 10)).seconds == (1.0, 2.0)


def test_a_budget_that_preparing_used_up_grows_by_a_quarter():
    assert allowed(15.0, 12.0) == 15.0
    assert allowed(15.0, 40.0) == 50.0


def test_no_size_is_slower_than_a_larger_one():
    slow, fast = Speed((1, 2), (3.0, 6.0), 1.0, 10), Speed((1, 2), (2.0, 4.0), 1.0, 20)
    assert [s.seconds for s in undisturbed([slow, fast])] == [(2.0, 4.0), (2.0, 4.0)]


def test_a_busy_moment_does_not_decide():
    quiet, _ = chosen(Machine())
    assert quiet == 2
    busy = Machine(slow=(2, 3, 4))  # all but the smallest size, when it was timed first
    assert chosen(busy)[0] == quiet
    assert busy.timed[:4] != busy.timed and set(busy.timed[4:]) <= {1, 2, 3}
