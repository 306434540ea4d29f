"""What was used: time, and energy from the processor's counter where there is one."""

import subprocess
import sys

import pytest

from genus.train import meter
from genus.train.meter import Meter, peak_bytes, watts


@pytest.fixture
def counter(tmp_path, monkeypatch):
    """Zones as Linux shows them: packages hold cores, memory stands beside, psys is all of it again."""
    monkeypatch.setattr(meter, "_COUNTERS", tmp_path)

    def put(joules):
        zones = {
            "intel-rapl:0": "package-0",
            "intel-rapl:0:0": "core",
            "intel-rapl:0:1": "dram",
            "intel-rapl:1": "psys",
        }
        for zone, name in zones.items():
            (tmp_path / zone).mkdir(exist_ok=True)
            (tmp_path / zone / "name").write_text(f"{name}\n")
            (tmp_path / zone / "energy_uj").write_text(str(int(joules * 1e6)))

    return put


def test_measured_energy_counts_nothing_twice(counter):
    counter(100)
    used = Meter(already_kwh=1.0)
    counter(100 + 3.6e6)
    assert used.kwh == pytest.approx(1 + 2.0) and used.method.startswith("measured")  # package and memory, 1 kWh each


def test_a_counter_that_began_again_is_not_believed(counter):
    counter(100)
    used = Meter()
    counter(5)
    assert 0 <= used.kwh < 1e-3


def test_without_a_counter_it_is_estimated(tmp_path, monkeypatch):
    monkeypatch.setattr(meter, "_COUNTERS", tmp_path)
    used = Meter(already_s=10.0, already_kwh=2.0)
    assert used.kwh >= 2.0 and used.seconds >= 10 and used.method.startswith("estimated")
    assert watts()[0] > 0 and "estimated" in watts()[1] and peak_bytes() > 1 << 20


def test_an_unreadable_counter_is_none(counter, tmp_path):
    counter(1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("?")
    assert Meter().method.startswith("estimated")


def test_a_process_does_not_answer_for_the_one_that_started_it():
    held = bytearray(b"\1") * (300 << 20)
    code = "from genus.train.meter import peak_bytes; print(peak_bytes())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1 << 20 < int(told.stdout) < len(held) < peak_bytes()
