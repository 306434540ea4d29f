from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from genus.clean.near import BINS, NearDuplicates
from genus.clean.rule import Pile
from genus.clean.twins import Found, Shelf, Table, buckets, groups, settle

Prose = Callable[..., str]


def pairs(texts: list[str], rule: NearDuplicates) -> set[tuple[int, int]]:
    records, fit = rule.record(Pile("text", texts))
    place = np.flatnonzero(fit)
    shelf = Shelf(rule.width)
    shelf.add(records[fit])
    found = rule.pairs(Table(shelf, np.arange(len(place)), lambda some: {i: texts[place[i]] for i in some}))
    shelf.close()
    return {(int(place[a]), int(place[b])) for a, b in zip(found.low, found.high, strict=True)}


def changed(text: str, share: float, draw: random.Random) -> str:
    said = text.split(" ")
    for at in draw.sample(range(len(said)), round(share * len(said))):
        said[at] = f"new{draw.randint(0, 10**6)}"
    return " ".join(said)


def test_estimate_agrees_with_the_counted_index(prose: Prose) -> None:
    rule, draw = NearDuplicates(), random.Random(0)
    counted, guessed = [], []
    for i in range(60):
        a = prose(i, 400)
        b = changed(a, draw.uniform(0, 0.3), draw)
        bins = rule.record(Pile("text", [a, b]))[0][:, : BINS * 2].copy().view(np.uint16)
        counted.append(rule.jaccard(a, b))
        guessed.append(float((bins[0] == bins[1]).mean()))
    off = np.array(guessed) - np.array(counted)
    assert abs(off.mean()) < 0.02  # unbiased: 60 x 128 trials
    assert np.abs(off).max() < 0.2


@pytest.mark.parametrize("words", [30, 100, 400])
def test_recall_of_edited_copies(prose: Prose, words: int) -> None:
    draw = random.Random(2)
    originals = [prose(i, words) for i in range(120)]
    copies = [changed(text, 0.04, draw) for text in originals[:60]]
    copies += [" ".join(text.split(" ")[words // 10 :]).upper() for text in originals[60:]]
    found = pairs(originals + copies, NearDuplicates())
    assert sum((i, 120 + i) in found for i in range(120)) >= 118
    assert all(b == a + 120 for a, b in found)


def test_the_threshold_is_counted_exactly(prose: Prose) -> None:
    draw = random.Random(3)
    texts, expected = [], set()
    rule = NearDuplicates(threshold=0.7, short=1)
    for i in range(60):
        a = prose(i, 200)
        b = changed(a, draw.uniform(0.02, 0.15), draw)
        if rule.jaccard(a, b) >= 0.7:
            expected.add((2 * i, 2 * i + 1))
        texts += [a, b]
    assert 20 < len(expected) < 50
    found = pairs(texts, rule)
    assert found <= expected  # nothing under the threshold
    assert len(expected - found) <= 1  # the bands miss one in thousands


def test_short_texts_that_differ_in_a_number_are_no_twins() -> None:
    text = "Calculate the area of a circle with a radius of {} meters. The area is about {} square meters."
    assert not pairs([text.format(5, 78.54), text.format(4, 50.27)], NearDuplicates())


def test_code_that_differs_in_an_operator_is_no_twin_of_itself() -> None:
    rule = NearDuplicates(medium="code", marks=True, threshold=0.99)
    code = "def f(a, b):\n    total = a {} b\n    return total * 2 + a\n" * 1
    assert not pairs([code.format("+"), code.format("-")], rule)
    assert pairs([code.format("+"), code.format("+").replace("    ", "\t")], rule) == {(0, 1)}


def test_tiny_texts_are_left_alone() -> None:
    assert not pairs(["yes I do", "Yes, I do!"], NearDuplicates())


def test_buckets_pair_each_with_the_best_and_with_its_neighbour() -> None:
    low, high = buckets(np.array([5, 7, 5, 5, 9]), np.array([2, 0, 0, 1, 4]))
    assert set(zip(low.tolist(), high.tolist(), strict=True)) == {(2, 3), (2, 0), (3, 0)}


def test_of_a_chain_only_the_middle_goes() -> None:
    found = Found(np.array([0, 1]), np.array([1, 2]), np.ones(2, np.float32))
    assert settle(found, np.arange(3), np.zeros(3, bool), lambda a, b: False) == {1: 0}
    assert groups(4, found.low, found.high).tolist() == [0, 0, 0, 3]
