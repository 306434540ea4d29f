"""A thought has so many ids and no more, whatever the model says; what comes after is free, or keeps to a rule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genus.codecs.bytes import Bytes
from genus.codecs.pixels import PixelsConfig
from genus.core import Cond, Known, Network, Noise, Space
from genus.errors import UsageError
from genus.samplers.thinking import Thinking
from genus.samplers.tokens import Tokens

FREE = set(range(257))


def after(rule, text: bytes) -> set[int]:
    return set(rule(list(text)).nonzero().flatten().tolist())


def only_x(drawn):
    found = torch.zeros(257, dtype=torch.bool)
    found[ord("x")] = True
    return found


def test_the_mark_follows_when_the_budget_is_spent() -> None:
    rule = Thinking(Bytes(), 3).rule(b"2+2\n")
    for free in (
        b"",
        b"<thi",
        b"<think>",
        b"<think>ab",
        b"4",
        b"<think>abc</think>",
        b"<think>a</think>and <think>more",
    ):
        assert after(rule, free) == FREE, free
    forced = b"<think>abc"
    for letter in b"</think>":
        assert after(rule, forced) == {letter}
        forced += bytes([letter])
    assert after(rule, b"<think>ab<") == {ord("/")}, "a mark that the model began itself goes on"
    assert after(rule, b"<think>ab<c") == {ord("<")}


def test_no_thought_at_all() -> None:
    rule = Thinking(Bytes(), 0).rule(b"")
    assert after(rule, b"<think>") == {ord("<")} and after(rule, b"  <think>") == {ord("<")}


def test_a_thought_that_the_prompt_has_opened() -> None:
    rule = Thinking(Bytes(), 2).rule(b"<|assistant|>\n<think>\n")
    assert after(rule, b"a") == FREE and after(rule, b"ab") == {ord("<")} and after(rule, b"a</think>bcd") == FREE


def test_a_rule_for_the_answer_holds_behind_the_thought_alone() -> None:
    rule = Thinking(Bytes(), 2).rule(b"", only_x)
    assert after(rule, b"") == {ord("x"), ord("<")} and after(rule, b"<th") == {ord("i")}
    assert after(rule, b"<think>a") == FREE and after(rule, b"<think>ab") == {ord("<")}
    assert after(rule, b"<think>ab</think>") == after(rule, b"x") == {ord("x")}


class Thinker(Network):
    """Opens a thought and never ends it; after the mark it says 4 and stops."""

    def __init__(self) -> None:
        super().__init__()
        self.space = Space((64,), 1, 257)

    def forward(self, x, t=None, cond=None, state=None):
        logits = torch.zeros(*x.shape, 257)
        for row, ids in enumerate(x[:, 0].tolist()):
            for i in range(len(ids)):
                said = bytes(b for b in ids[: i + 1] if b < 256)
                opened, ended = b"<think>", b"</think>"
                if ended in said:
                    wanted = 256 if said.endswith(b"4") else ord("4")
                else:
                    wanted = opened[len(said)] if len(said) < len(opened) else ord("a") + len(said) % 7
                logits[row, 0, i, wanted] = 50.0
        return logits


@pytest.mark.parametrize("guesses", [{}, {"lookup": 2, "ahead": 3}])
@pytest.mark.parametrize("budget", [0, 1, 9])
def test_it_is_enforced_when_drawing(budget: int, guesses: dict[str, int]) -> None:
    net, own = Thinker(), Thinking(Bytes(), budget)
    x = torch.zeros(2, 1, 0, dtype=torch.long)
    known = Known(x, x.bool(), (own.rule([]), own.rule([])))
    drawn = Tokens(tokens=60, temperature=0, **guesses)(net, net.space, Cond(), Noise(0, (0, 1)), known)
    for text in Bytes().decode(drawn):
        thought, answer = text.removeprefix("<think>").split("</think>")
        assert len(thought) == budget and answer == "4"


def test_what_cannot_be_bounded() -> None:
    with pytest.raises(UsageError, match="thinking_budget = -1"):
        Thinking(Bytes(), -1)
    with pytest.raises(UsageError, match="stand for bytes"):
        Thinking(PixelsConfig(height=8, width=8, channels=1).load(Path()), 3)
