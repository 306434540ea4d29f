"""Countdown: a sum of the given numbers, each used at most once, that comes to the last number of the question.

The answer is an expression in + - * / and brackets; what stands before its last `=` or on earlier lines is not judged.
It is read by a parser of its own: nothing that a model says is ever run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, final

from genus.dialogue import Message
from genus.rewards.reward import Reward, question
from genus.rewards.reward import final as answer

_TOKEN = re.compile(r"\s*(\d+|[-+*/()])")
DEPTH = 50  # brackets inside each other


@final
class Countdown(Reward):
    """every: all numbers must be used."""

    kind: Literal["rewards.countdown"] = "rewards.countdown"
    every: bool = False

    def __call__(self, asked: Sequence[Message], reference: str, said: str) -> float:
        """See the module."""
        told = [int(n) for n in re.findall(r"\d+", question(asked))]
        lines = [line for line in answer(said).splitlines() if line.strip()]
        expression = lines[-1].split("=")[0] if lines else ""
        found = value(expression)
        if found is None or not told:
            return 0.0
        used, there = Counter(int(n) for n in re.findall(r"\d+", expression)), Counter(told[:-1])
        fits = used == there if self.every else not used - there
        return float(fits and found == told[-1])


def value(expression: str) -> Fraction | None:
    """What an expression comes to; None if it is none, or divides by zero."""
    tokens = _TOKEN.findall(expression)
    if "".join(tokens) != "".join(expression.split()) or not tokens:
        return None
    try:
        found, rest = _sum(tokens, 0)
    except (ValueError, ZeroDivisionError):
        return None
    return found if not rest else None


def _sum(tokens: list[str], depth: int) -> tuple[Fraction, list[str]]:
    left, tokens = _product(tokens, depth)
    while tokens and tokens[0] in "+-":
        sign, (right, rest) = tokens[0], _product(tokens[1:], depth)
        left, tokens = left + right if sign == "+" else left - right, rest
    return left, tokens


def _product(tokens: list[str], depth: int) -> tuple[Fraction, list[str]]:
    left, tokens = _single(tokens, depth)
    while tokens and tokens[0] in "*/":
        sign, (right, rest) = tokens[0], _single(tokens[1:], depth)
        left, tokens = left * right if sign == "*" else left / right, rest
    return left, tokens


def _single(tokens: list[str], depth: int) -> tuple[Fraction, list[str]]:
    if depth > DEPTH or not tokens:
        raise ValueError("no expression")
    if tokens[0] == "-":
        found, rest = _single(tokens[1:], depth + 1)
        return -found, rest
    if tokens[0] == "(":
        found, rest = _sum(tokens[1:], depth + 1)
        if not rest or rest[0] != ")":
            raise ValueError("a bracket is not closed")
        return found, rest[1:]
    if not tokens[0].isdecimal():
        raise ValueError("no number")
    return Fraction(int(tokens[0])), tokens[1:]
