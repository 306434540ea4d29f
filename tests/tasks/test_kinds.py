"""What each kind of task finds in a model that is known through and through."""

import math

import pytest
import torch
from task_toys import VOCAB, Given, examinee, heart, pairs

from genus.errors import UsageError
from genus.rewards.arithmetic import Arithmetic
from genus.tasks.choice import Choice
from genus.tasks.drawn import Drawn
from genus.tasks.perplexity import Perplexity
from genus.tasks.recall import OPEN, Recall, withheld
from genus.tasks.task import Form


def scores(outcome):
    return {score.name: score.finding() for score in outcome.scores}


def shared(**probabilities: float) -> torch.Tensor:
    """A table whose bytes have these probabilities, whatever stands before; the rest is spread."""
    rest = (1 - sum(probabilities.values())) / (VOCAB - len(probabilities))
    row = torch.full((VOCAB,), math.log(rest))
    for name, p in probabilities.items():
        row[ord(name)] = math.log(p)
    return row.expand(VOCAB + 1, -1).clone()


BARE = Form(question="{}", answer="{}")


def choice(items, **more):
    return Choice(name="t", items=Given(asked=tuple(items)), form=BARE, **more)


def test_a_choice_is_by_all_of_it_or_by_the_byte():
    """p(a) = 1/2, p(b) = 1/4: 'aa' costs 2 bits, 'b' costs 2.5 at 0.18: all of it prefers 'aaaa' less than 'b'."""
    net = examinee(pairs(shared(a=0.5, b=0.18)))
    items = [("q", "aaaa", ("aaaa", "b"), 0), ("q", "b", ("aaaa", "b"), 1)]
    found = scores(choice(items)(net))
    assert found["accuracy"].value == 0.5 and found["accuracy_per_byte"].value == 0.5
    first = scores(choice(items[:1])(net))
    assert (first["accuracy"].value, first["accuracy_per_byte"].value, first["accuracy_per_token"].value) == (0, 1, 1)
    outcome = choice(items, by="sum")(net)
    assert outcome.main.name == "accuracy" and outcome.main.chance == 0.5
    assert list(outcome.said) == ["b", "b"]


def test_a_choice_knows_how_sure_it_was():
    """Always 0.8 sure of the first, which is right every time, or half of the time."""
    net = examinee(pairs(shared(a=0.4, b=0.1)))
    sure = [("q", "a", ("a", "b"), 0)] * 4
    found = scores(choice(sure)(net))
    assert found["ece"].value == pytest.approx(0.2, abs=1e-4)
    assert found["brier"].value == pytest.approx(2 * 0.2**2, abs=1e-4)
    half = [*sure[:2], *[("q", "b", ("a", "b"), 1)] * 2]
    outcome = choice(half)(net)
    found = scores(outcome)
    assert found["ece"].value == pytest.approx(0.3, abs=1e-4)
    assert found["brier"].value == pytest.approx((2 * 0.2**2 + 2 * 0.8**2) / 2, abs=1e-4)
    assert outcome.curves["reliability"] == [{"sure": pytest.approx(0.8, abs=1e-4), "right": 0.5, "items": 4}]
    assert "<svg" in outcome.figures[0].html


def test_a_choice_without_a_right_one_is_refused():
    with pytest.raises(UsageError, match="two or more"):
        choice([("q", "a", ("a",), 0)])(examinee(pairs(shared(a=0.5))))
    with pytest.raises(UsageError, match="number 2"):
        choice([("q", "a", ("a", "b"), 2)])(examinee(pairs(shared(a=0.5))))


def test_texts_cost_their_bits():
    text = "ab" * 40
    task = Perplexity(name="t", items=Given(asked=((text,), ("aaaa",))))
    outcome = task(examinee(pairs(shared(a=0.5, b=0.125))))
    found = scores(outcome)
    assert found["bits_per_byte"].value == pytest.approx((40 * 1 + 40 * 3 + 4) / 84, abs=1e-4)
    assert found["perplexity_per_token"].value == pytest.approx(2 ** ((40 + 120 + 4) / 84), abs=1e-3)
    assert outcome.main.chance == 8.0
    assert {b.name for b in outcome.baselines} == {"bits_per_byte/gzip", "bits_per_byte/xz"}


def test_answers_cost_their_bits_given_the_question():
    task = Perplexity(name="t", items=Given(asked=(("zzzz", "ab"),)), form=BARE)
    assert scores(task(examinee(pairs(shared(a=0.5, b=0.125)))))["bits_per_byte"].value == pytest.approx(2, abs=1e-4)


def test_exact_match_counts_what_is_right():
    net = examinee(heart({"1 + 1?": (" It is 2.", 0.99), "2 + 2?": (" 5", 0.99), "3 + 3?": (" 6, no, 7", 0.99)}))
    items = Given(asked=(("1 + 1?", "2"), ("2 + 2?", "4"), ("3 + 3?", "7")))
    outcome = Drawn(name="t", items=items, reward=Arithmetic())(net)
    assert scores(outcome)["exact_match"].value == pytest.approx(2 / 3)
    assert not outcome.notes
    words = scores(Drawn(name="t", items=items)(net))
    assert words["exact_match"].value == 0, "the words are others"
    (note,) = Drawn(name="t", items=items, tokens=3)(net).notes
    assert note.startswith("67%")


def test_examples_are_shown():
    net = heart({"b?": (" x", 0.99)})
    Drawn(name="t", items=Given(asked=(("b?", "x"),), shown=(("a?", "y"),)), shots=1)(examinee(net))
    assert any("Question: a?\nAnswer: y\n\nQuestion: b?" in seen for seen in net.seen)


def test_pass_at_k_is_the_chance_of_one_in_k():
    """Each answer is right with p = 0.5: one byte, then the line ends."""
    net = heart({f"q{i}": ("7", 0.5) for i in range(24)})
    task = Drawn(
        name="t", items=Given(asked=tuple((f"q{i}", "7") for i in range(24))), attempts=4, temperature=1.0, tokens=1
    )
    found = scores(task(examinee(net)))
    assert found["pass_at_1"].value == pytest.approx(0.5, abs=0.12)
    assert found["pass_at_4"].value == pytest.approx(1 - 0.5**4, abs=0.08)
    assert "pass_at_16" not in found and found["pass_at_1"].low < 0.5 < found["pass_at_1"].high


FACTS = (
    ("red?", "rot"), ("blue?", "blau"), ("green?", "gruen"), ("grey?", "grau"), ("nixland?", ""), ("nullia?", ""),
)  # fmt: skip


def test_facts_are_right_wrong_or_withheld():
    net = heart(
        {
            "red?": (" It is rot.", 0.9),
            "blue?": (" rot", 0.6),
            "green?": (" I don't know.", 0.9),
            "grey?": (" grau", 0.8),
            "nixland?": (f" {OPEN}", 0.9),
            "nullia?": (" 12", 0.5),
        }
    )
    outcome = Recall(name="t", items=Given(asked=FACTS))(examinee(net))
    found = scores(outcome)
    assert [found[name].value for name in ("accuracy", "wrong", "withheld")] == [0.5, 0.25, 0.25]
    assert found["made_up"].value == 0.5 and found["made_up"].low > 0
    assert found["risk_over_coverage"].value == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    points = outcome.curves["coverage"]
    assert points[0]["risk"] == 0.5 and points[0]["coverage"] == pytest.approx(4 / 6)
    assert points[-1]["risk"] == 0 and points[-1]["threshold"] > points[0]["threshold"]


def test_one_that_is_surest_when_wrong_gains_nothing_by_silence():
    net = heart({"red?": (" rot", 0.5), "blue?": (" rot", 0.9)})
    found = scores(Recall(name="t", items=Given(asked=FACTS[:2]))(examinee(net)))
    assert found["risk_over_coverage"].value == pytest.approx((1 + 1 / 2) / 2) and "made_up" not in found


@pytest.mark.parametrize("text", ["", " \n", "I don't know.", "I do not know it", "Sorry, I’m not sure"])
def test_silence_is_heard(text):
    assert withheld(text)


def test_answers_are_no_silence():
    assert not withheld("Allemagne") and not withheld("I know: Norwegen")
