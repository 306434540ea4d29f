"""A budget is read as it was meant, or refused before anything is done."""

import subprocess
import sys

import pytest

from genus.errors import UsageError
from genus.train.budget import budget
from genus.train.meter import watts


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("10 min", 600), ("1h", 3600), ("1h30m", 5400), ("1 h 30 m", 5400), ("1.5h", 5400),
     ("2d", 172800), ("10M", 600), ("5s", 5), ("1m 30sec", 90)],
)  # fmt: skip
def test_time(text, seconds):
    spend = budget(text)
    assert spend.seconds == seconds and spend.steps is None and spend.asked == text


@pytest.mark.parametrize(("text", "steps"), [("5000 steps", 5000), ("1 step", 1), ("30steps", 30), ("7 Steps", 7)])
def test_steps(text, steps):
    assert budget(text).steps == steps and budget(text).seconds is None


@pytest.mark.parametrize(("text", "kwh"), [("2kWh", 2), ("300 Wh", 0.3), ("0.5 kwh", 0.5), ("1kWh 500Wh", 1.5)])
def test_energy(text, kwh):
    assert budget(text).seconds == pytest.approx(kwh * 3.6e6 / watts()[0])


BAD = ["", " ", "10", "m", "-10m", "10x", "ten minutes", "1e3s", "5000", "1.5 steps", "0 steps", "-3 steps"]
BAD += ["3 steps 4 steps", "10m 5 steps", "1kWh 3m", "nan s", "inf s", "1,5h", "10m;", "\n", "10 m ü"]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_budget(text):
    with pytest.raises(UsageError, match=r"is not understood; write e\.g\. 90s, 10m"):
        budget(text)


@pytest.mark.parametrize("text", ["0s", "4.9s", "0.00001kWh"])
def test_too_short(text):
    with pytest.raises(UsageError, match=r"at least 5 s"):
        budget(text)


def test_a_bad_budget_is_refused_without_torch():
    code = "import sys; from genus.train.budget import budget; budget('1m'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
