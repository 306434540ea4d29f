"""Instructions whose keeping a program can check, in the way of Zhou et al. 2023 (IFEval, arXiv 2311.07911).

Two kinds: rules of form that are written here (one word, three of a kind, in capital letters, with a given word), and
held-out questions of a data set whose answer names something that the question does not: a word in quotation marks, a
number, a name. An answer keeps such a question if it names that and is no essay. Plain Python, nothing of genus.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

LONG = 40  # words of an answer that names something, at most
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
QUOTED = re.compile(r"[\"“'‘]([^\"“”'‘’]{2,40})[\"”'’](?!\w)")
NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w])")
#: Whether an answer keeps its instruction.
Check = Callable[[str], bool]


class Instruction(NamedTuple):
    """What is asked, the kind of rule, and whether an answer keeps it."""

    asked: str
    kind: str
    kept: Check


def words(text: str) -> list[str]:
    """In small letters."""
    return [word.casefold() for word in WORD.findall(text)]


def sentences(text: str) -> int:
    """How many end, and whether the last one does."""
    return len(re.findall(r"[.!?](?=\s|$)", text.strip().rstrip("\"'”’")))


def has(word: str) -> Check:
    """The word stands in the answer."""
    return lambda text: word.casefold() in words(text)


def starts(word: str) -> Check:
    """The answer starts with the word."""
    return lambda text: words(text)[:1] == [word.casefold()]


def listed(text: str) -> bool:
    """Three things: between commas, or a line each."""
    text = text.strip()
    lines = [line for line in text.splitlines() if line.strip()]
    return len(lines) == 3 or (
        len(lines) == 1 and len(re.split(r",\s*(?:and\s+)?|\s+and\s+", text.split(":")[-1])) == 3
    )


def capital(text: str) -> bool:
    """No small letter, and some letter."""
    return text.upper() == text and any(c.isalpha() for c in text)


def small(text: str) -> bool:
    """No capital letter, and some letter."""
    return text.lower() == text and any(c.isalpha() for c in text)


def number(text: str) -> bool:
    """A number and nothing else."""
    return re.fullmatch(r"-?\d[\d,]*(?:\.\d+)?\.?", text.strip()) is not None


def sentence(text: str) -> bool:
    """One, of more than two words."""
    return sentences(text) == 1 and len(words(text)) > 2


def asking(text: str) -> bool:
    """One question."""
    return text.strip().rstrip("\"'”’").endswith("?") and sentences(text) == 1


SHORT = (
    ("What is the capital of {}? Answer in one word.", lambda text: len(words(text)) == 1, "one word"),
    ("What is {} used for? Answer in one sentence.", sentence, "one sentence"),
    ("Explain {} in at most twelve words.", lambda text: 0 < len(words(text)) <= 12, "at most twelve words"),
    ("Name three {}.", listed, "three of a kind"),
    ("Write a question about {}.", asking, "a question"),
    ("Describe {} in capital letters only.", capital, "capital letters"),
    ("Describe {} in small letters only, without any capital letter.", small, "small letters"),
    ("How many {}? Answer with a number only.", number, "a number only"),
)  # fmt: skip
ABOUT = (
    ("Peru", "Kenya", "Norway", "Greece", "Canada", "Vietnam", "Chile", "Egypt"),
    ("a hammer", "a thermometer", "a compass", "a telescope", "a kettle", "a ladder", "a microscope", "an umbrella"),
    ("gravity", "rust", "evaporation", "inflation", "photosynthesis", "an eclipse", "a metaphor", "friction"),
    ("vegetables", "planets", "musical instruments", "colours", "rivers", "insects", "metals", "sports"),
    ("volcanoes", "the moon", "bicycles", "bees", "money", "winter", "libraries", "whales"),
    ("the sea", "a cat", "snow", "a forest", "the sun", "a city", "a horse", "music"),
    ("the sky", "a dog", "rain", "a desert", "the wind", "a village", "a rose", "coffee"),
    (
        "days are in a week", "legs does a spider have", "months are in a year", "sides does a triangle have",
        "hours are in a day", "wheels does a car have", "minutes are in an hour", "letters are in the English alphabet",
    ),
)  # fmt: skip
WITH = ("bridge", "patient", "curious", "lantern", "although", "journey", "reluctant", "harvest")
FIRST = (
    ("Although", "It rained all day. We went for a walk."),
    ("Because", "He was tired. He went to bed."),
    ("While", "She cooked. He read the newspaper."),
    ("After", "They ate dinner. They watched a film."),
    ("If", "You study every day. You will pass the exam."),
    ("Before", "He locked the door. He left the house."),
    ("Despite", "The road was icy. They arrived on time."),
    ("When", "The bell rang. The children ran outside."),
)


def formal() -> list[Instruction]:
    """The rules of form."""
    found = []
    for (text, kept, kind), things in zip(SHORT, ABOUT, strict=True):
        found += [Instruction(text.replace("{}", thing), kind, kept) for thing in things]
    found += [Instruction(f"Create a sentence using the word '{word}'.", "a given word", has(word)) for word in WITH]
    for word, text in FIRST:
        asked = f"Rewrite as one sentence that starts with '{word}'.\n{text}"
        found.append(Instruction(asked, "a given beginning", _both(starts(word), lambda text: sentences(text) == 1)))
    return found


def _both(one: Check, other: Check) -> Check:
    return lambda text: one(text) and other(text)


def named(pairs: Sequence[tuple[str, str]]) -> list[Instruction]:
    """Of questions with their answers, those whose answer names something that the question does not."""
    found = []
    for asked, answer in pairs:
        key = wanted(asked, answer)
        if key is not None and "\n" not in answer and _named(key)(answer):
            found.append(Instruction(asked, "names what is asked", _named(key)))
    return found


def wanted(asked: str, answer: str) -> str | None:
    """What an answer has to name: all of a short one, else its last quoted words or number that were not asked."""
    known = asked.casefold()
    if len(words(answer)) <= 3:
        return answer.strip().rstrip(".")
    for pattern in (QUOTED, NUMBER):
        new = [one.rstrip(".,") for one in pattern.findall(answer) if one.rstrip(".,").casefold() not in known]
        if new:
            return new[-1]
    return None


def _named(key: str) -> Check:
    right = words(key)

    def kept(text: str) -> bool:
        said = words(text)
        here = any(said[i : i + len(right)] == right for i in range(len(said) - len(right) + 1))
        return here and len(said) <= LONG

    return kept
