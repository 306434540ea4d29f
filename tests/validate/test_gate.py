from __future__ import annotations

import math

import pytest

from genus.errors import UsageError
from genus.parts import parse
from genus.validate.findings import Finding
from genus.validate.gate import Gate


def text(value: float, ngram: float = 2.0, gzip: float = 3.0, xz: float = 2.8):
    base = {"ngram5": ngram, "gzip": gzip, "xz": xz, "xz_primed": 1.0}
    return [Finding("bits_per_byte", value)], [Finding(f"bits_per_byte/{n}", v) for n, v in base.items()]


def test_a_model_must_beat_every_opponent_named():
    assert Gate()(*text(1.9)) == ()
    assert "counting five bytes (n-gram) 2.000" in Gate()(*text(2.1))[0]
    assert len(Gate()(*text(3.5))) == 3
    assert Gate()(*text(2.0)) != ()  # as good is not better
    assert Gate(opponents=("gzip",))(*text(2.5)) == ()


def test_the_gap_must_be_closed_a_little():
    assert Gate()([Finding("gap_closed", 0.01)], []) == ()
    assert "gap closed is -0.100" in Gate()([Finding("gap_closed", -0.1)], [])[0]
    assert Gate(gap=0.5)([Finding("gap_closed", 0.4)], []) != ()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_a_number_fails(value):
    assert any("not a finite number" in r for r in Gate()(*text(value)))
    assert Gate()([Finding("gap_closed", math.nan)], []) != ()
    assert any("copies" in r for r in Gate()([*text(1.0)[0], Finding("copies", value)], text(1.0)[1]))


def test_copies_are_judged_against_what_real_data_repeats():
    metrics, base = text(1.0)
    assert Gate()([*metrics, Finding("copies", 0.04)], base) == ()
    assert "6.0% of its samples copy" in Gate()([*metrics, Finding("copies", 0.06)], base)[0]
    usual = [*base, Finding("copies/held_out", 0.2)]
    assert Gate()([*metrics, Finding("copies", 0.39)], usual) == ()
    assert Gate()([*metrics, Finding("copies", 0.41)], usual) != ()


def test_a_model_that_nothing_was_compared_of_does_not_pass():
    assert "nothing could be compared" in Gate()([], [])[0]
    assert Gate()([Finding("copies", 0.0)], []) != ()


def test_a_gate_is_found_by_its_kind_and_bounded():
    assert parse({"kind": "validate.gate", "gap": 0.2}) == Gate(gap=0.2)
    with pytest.raises(UsageError, match="beyond"):
        Gate().but(beyond=0.5)
