"""Number formats against ggml; the figures were written by benchmarks/published.py."""

import json
from pathlib import Path

import numpy as np
import pytest

from genus.exchange.packing import FORMATS, packed, through, unpacked

TOLD = json.loads(Path(__file__).with_name("ggml.json").read_text())["formats"]


@pytest.mark.parametrize("name", TOLD)
def test_blocks_are_read_as_ggml_reads_them(name):
    raw = np.frombuffer(bytes.fromhex(TOLD[name]["raw"]), np.uint8)
    expected = np.array(TOLD[name]["is"], np.float32)
    assert np.array_equal(unpacked(FORMATS[name], raw, expected.shape), expected)


@pytest.mark.parametrize("name", [name for name in TOLD if "x" in TOLD[name]])
def test_numbers_are_written_as_ggml_writes_them(name):
    x = np.array(TOLD[name]["x"], np.float32)
    assert packed(FORMATS[name], x).tobytes().hex() == TOLD[name]["written"]


def test_q4_k_loses_less_than_blocks_of_32():
    x = np.random.default_rng(0).standard_normal((32, 512)).astype(np.float32)
    x[0, :256] = 0
    lost = {name: float(np.square(through(FORMATS[name], x) - x).mean()) for name in ("q4_0", "q4_1", "q4_k")}
    assert lost["q4_k"] < lost["q4_1"] < lost["q4_0"]
    assert not through(FORMATS["q4_k"], x)[0, :256].any()
    again = through(FORMATS["q4_k"], through(FORMATS["q4_k"], x))
    assert np.abs(again - through(FORMATS["q4_k"], x)).max() < 0.2


@pytest.mark.parametrize("name", ["f32", "f16", "bf16"])
def test_whole_numbers_come_back_to_their_precision(name):
    x = np.array([[0, 1.5, -3.25, 1e-3, 65504 if name == "f16" else 1e30]], np.float32)
    np.testing.assert_allclose(through(FORMATS[name], x), x, rtol={"f32": 0, "f16": 1e-3, "bf16": 4e-3}[name])
