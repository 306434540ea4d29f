"""Rules that say which answers are right: what they must accept, and what a model that wants to be rewarded may try."""

import pytest

from genus.dialogue import Message
from genus.rewards.arithmetic import Arithmetic
from genus.rewards.countdown import Countdown, value
from genus.rewards.match import Match
from genus.rewards.sorting import Sorting
from genus.rewards.tests import Tests as UnitTests
from genus.sandbox.programs import asserts, shadowed


def asked(text):
    return (Message("system", "9 9 9"), Message("user", text))


@pytest.mark.parametrize(
    ("said", "worth"),
    [
        ("12", 1),
        ("so 5 + 7 = 12.", 1),
        ("12 or 13", 0),
        ("", 0),
        ("twelve", 0),
        ("<think>13</think> 12", 1),
        ("-12", 0),
    ],
)
def test_arithmetic_is_the_last_number(said, worth):
    assert Arithmetic()(asked("5+7"), "5+7=12", said) == worth
    assert Arithmetic()(asked("?"), "it is 1,200.50", "1200.5") == 1 and Arithmetic()(asked("?"), "", said) == 0


@pytest.mark.parametrize(
    ("said", "worth"),
    [
        ("(6 - 2) * 3 = 12", 1),
        ("first 6+2\n6 * 2", 1),
        ("6 * 2 * 1", 0),  # a number that was not given
        ("6 + 6", 0),  # used twice
        ("6 - -3 + 3", 0),
        ("12", 0),
        ("6 * 2 +", 0),
        ("(6 * 2", 0),
        ("6 / (2 - 2)", 0),
        ("__import__('os')", 0),
        ("(" * 5000 + "6", 0),
        ("", 0),
    ],
)
def test_countdown_is_an_expression_of_the_given_numbers(said, worth):
    assert Countdown()(asked("Numbers 6, 2, 3; make 12"), "", said) == worth


def test_countdown_with_every_number():
    rule = Countdown(every=True)
    assert rule(asked("6 2 3: 12"), "", "6 * 2") == 0 and rule(asked("6 2 3: 12"), "", "(6 - 2) * 3") == 1
    assert Countdown()(asked("nothing"), "", "1") == 0
    assert value("7 / 2 * 2") == 7 and value("-(2 - 5)") == 3


def test_sorting():
    question = asked("Sort 3, 1, 2.")
    assert [Sorting()(question, "", said) for said in ("1 2 3", "1, 2, 3", "1 2", "1 2 3 3", "3 2 1")] == [
        1,
        1,
        0,
        0,
        0,
    ]
    assert Sorting(falling=True)(question, "", "3 2 1") == 1 and Sorting(graded=True)(question, "", "1 3 2") == 1 / 3
    assert Sorting()(asked("no numbers"), "", "") == 0


def test_match():
    assert [Match()(asked("q"), "Red ball.", said) for said in ("red  Ball", "red", "red ball red")] == [1, 0, 0]
    assert Match(graded=True)(asked("q"), "red ball", "red") == pytest.approx(2 / 3)
    assert Match(graded=True)(asked("q"), "red ball", "") == 0


def test_a_program_is_right_if_it_passes_the_tests_of_the_answer_or_of_the_question():
    right, half = "def f(x):\n    return x * x", "def f(x):\n    return 2 * x"
    checks = "assert f(2) == 4\nassert f(3) == 9"
    fenced = f"<think>hm</think> So:\n```python\n{right}\n```\nThat is all."
    rule, graded = UnitTests(), UnitTests(graded=True)
    said = [right, half, fenced, "import sys; sys.exit(0)", ""]
    assert rule.all([asked("square it")] * 5, [checks] * 5, said) == [1, 0, 1, 0, 0]
    assert graded(asked("square it"), checks, half) == 0.5
    posed = f"Square it. It must pass:\n{checks}"
    assert rule(asked(posed), right, right) == 1 and rule(asked(posed), right, half) == 0
    assert rule(asked("square it"), "no tests", right) == 0


def test_asserts_are_found_in_code_and_in_prose():
    assert asserts("import math\nx = 1\nassert math.sqrt(4) == 2\n") == "import math\nassert math.sqrt(4) == 2"
    assert asserts("It must hold:\n  assert f(1) == 2\nassert that it does") == "assert f(1) == 2"
    assert asserts("def f(x): return x") == "" and asserts("") == ""
    assert shadowed("assert sum(1, 2) == 3") == ("sum",) and shadowed("assert abs(f(1)) == 1") == ()
