"""Levels and single steps against diffusers' schedulers; the figures were written by benchmarks/parity.py."""

import json
import math
from pathlib import Path

import pytest
import torch

from genus.core import move
from genus.samplers.ode import ancestral, heun, in_log_snr, level
from genus.samplers.schedules import cosine, linear, steps

TOLD = json.loads(Path(__file__).with_name("diffusers.json").read_text())
STATE, SAID, NEXT = (torch.tensor(TOLD[name], dtype=torch.float64) for name in ("state", "said", "next"))


def time(alpha_sigma):
    alpha, sigma = alpha_sigma
    return sigma / (alpha + sigma)


def ours(x, alpha_sigma):
    """alpha x + sigma e -> (1 - t) x + t e."""
    return x / sum(alpha_sigma)


def close(found, alpha_sigma, after):
    expected = ours(torch.tensor(after, dtype=torch.float64), alpha_sigma)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_ddim():
    step = TOLD["ddim"]
    found = move(ours(STATE, step["start"]), SAID, time(step["start"]), time(step["end"]))
    close(found, step["end"], step["after"])


def test_ddpm():
    step = TOLD["ddpm"]
    e = torch.tensor(step["noise"], dtype=torch.float64)
    found = ancestral(ours(STATE, step["start"]), SAID, time(step["start"]), time(step["end"]), 1.0, e)
    close(found, step["end"], step["after"])


def test_dpm_solver_2m():
    first, second = TOLD["dpm"]
    times = [time(level) for level in (first["start"], first["end"], second["end"])]
    middle = move(ours(STATE, first["start"]), SAID, times[0], times[1])
    close(middle, first["end"], first["after"])
    found = move(middle, in_log_snr(NEXT, times[1], times[2], (times[0], SAID)), times[1], times[2])
    close(found, second["end"], second["after"])


def test_heun():
    step = TOLD["heun"]
    found = heun(ours(STATE, step["start"]), SAID, time(step["start"]), time(step["end"]), lambda x, t: NEXT)
    close(found, step["end"], step["after"])


def test_flow_euler():
    step = TOLD["flow"]
    close(move(STATE, SAID, time(step["start"]), time(step["end"])), step["end"], step["after"])


def test_levels():
    for name, (alpha, sigma) in TOLD["linear"].items():
        t = float(linear(torch.tensor(int(name) / 999, dtype=torch.float64)))
        assert t == pytest.approx(sigma / (alpha + sigma), abs=1e-5)
    start = 0.008  # theirs begins so late on our cosine, and is scaled to begin with alpha = 1 there
    for name, (alpha, _) in TOLD["cosine"].items():
        t, first = (
            float(cosine(torch.tensor((u + start) / (1 + start), dtype=torch.float64)))
            for u in ((int(name) + 1) / 1000, 0.0)
        )
        ours = (1 - t) / math.hypot(1 - t, t) / ((1 - first) / math.hypot(1 - first, first))
        assert ours == pytest.approx(alpha, abs=1e-5)
    sigmas = [level(t) for t in steps("karras", 10)]
    assert sigmas == pytest.approx(TOLD["karras"], rel=1e-5)
    assert sigmas == pytest.approx(TOLD["karras again"], rel=1e-5)
