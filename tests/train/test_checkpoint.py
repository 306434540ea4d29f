"""Whole or passed over; the last two kept."""

import json
import os

import pytest
import torch

from genus.errors import GenusError
from genus.train import checkpoint

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(3, dtype=torch.bfloat16)[::2]}


@pytest.fixture
def three(tmp_path):
    for step in (5, 10, 100):
        checkpoint.save(tmp_path, step, {**TENSORS, "step": torch.tensor(step)}, {"at": {"x": step}})
    return tmp_path


def test_what_was_saved_is_loaded(three):
    tensors, facts = checkpoint.latest(three)
    assert facts["at"] == {"x": 100} and facts["step"] == 100 and int(tensors["step"]) == 100
    assert torch.equal(tensors["a"], TENSORS["a"]) and tensors["b"].dtype == torch.bfloat16


def test_the_last_two_are_kept(three):
    assert checkpoint.steps(three) == [10, 100] and sorted(os.listdir(three)) == ["step-10", "step-100"]


def tear(three, how):
    place = three / "step-100"
    if how == "truncated":
        (place / "state.safetensors").write_bytes((place / "state.safetensors").read_bytes()[:-1])
    elif how == "flipped":
        data = bytearray((place / "state.safetensors").read_bytes())
        data[-1] ^= 1
        (place / "state.safetensors").write_bytes(data)
    elif how == "no tensors":
        (place / "state.safetensors").unlink()
    elif how == "no facts":
        (place / "state.json").unlink()
    else:
        (place / "state.json").write_text(how)


@pytest.mark.parametrize("how", ["truncated", "flipped", "no tensors", "no facts", "{", "[]", "{}", "null", '"x"'])
def test_a_torn_one_is_passed_over_and_removed(three, how):
    tear(three, how)
    assert checkpoint.latest(three)[1]["step"] == 10
    checkpoint.save(three, 11, TENSORS, {})
    assert checkpoint.steps(three) == [10, 11]


def test_none_left(tmp_path, three):
    assert checkpoint.latest(tmp_path / "nothing") is None and checkpoint.steps(tmp_path / "nothing") == []
    for step in (10, 100):
        (three / f"step-{step}" / "state.json").write_text("")
    assert checkpoint.latest(three) is None


def test_leftovers_of_a_kill_are_removed(three):
    (three / ".step-101.77.part").mkdir()
    (three / "step-x").mkdir()
    assert checkpoint.latest(three)[1]["step"] == 100 and not (three / ".step-101.77.part").exists()


def test_the_same_step_again_replaces(three):
    checkpoint.save(three, 100, {"a": torch.ones(1)}, {"new": True})
    assert checkpoint.latest(three)[1]["new"]


def test_a_full_disk_leaves_what_was_there(three, monkeypatch):
    def full(*_):
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(GenusError, match=r"cannot write checkpoint .*step-200: .*No space left.*; free some space"):
        checkpoint.save(three, 200, TENSORS, {})
    assert sorted(os.listdir(three)) == ["step-10", "step-100"] and checkpoint.latest(three)[1]["step"] == 100


def test_facts_are_readable(three):
    assert set(json.loads((three / "step-10" / "state.json").read_text())) == {"step", "sha256", "at"}
