from __future__ import annotations

import numpy as np
import pytest

from genus.clean.words import hashed, shingles, words


def test_case_space_and_punctuation_do_not_count() -> None:
    a, b = words(["Hello,  World! It's me."]), words(["hello world\nIT S ME"])
    assert np.array_equal(a.hash, b.hash)
    assert a.counts.tolist() == [5]


def test_marks_count_in_code() -> None:
    assert words(["a+b", "a-b"], marks=True).counts.tolist() == [3, 3]
    left, right = words(["f(a+b)"], marks=True).hash, words(["f(a-b)"], marks=True).hash
    assert (left != right).sum() == 1


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15])
def test_every_byte_of_a_word_counts(size: int) -> None:
    word = "abcdefghijklmnop"[:size]
    others = [word[:i] + "z" + word[i + 1 :] for i in range(size)] + [word + "q"]
    assert len({int(words([w]).hash[0]) for w in (word, *others)}) == len(others) + 1


def test_a_word_is_the_same_wherever_it_stands() -> None:
    alone = words(["needle"]).hash[0]
    found = words(["", "hay needle", "needle hay", "x" * 50 + " needle", "naïve needle"])
    assert [(found.hash[found.text == i] == alone).sum() for i in range(5)] == [0, 1, 1, 1, 1]
    assert found.counts.sum() == len(found.hash)


def test_an_insertion_into_a_long_run_moves_only_cuts_beside_it() -> None:
    draw = np.random.default_rng(0)
    run = "".join(draw.choice(list("ACGT"), 4000))
    a, b = set(words([run]).hash.tolist()), set(words([run[:2000] + "T" + run[2000:]]).hash.tolist())
    assert len(a) > 100
    assert len(a & b) >= len(a) - 3


def test_shingles_stay_inside_their_text() -> None:
    hashes, text = shingles(words(["a b c", "d", "a b c d"]), 3)
    assert text.tolist() == [0, 2, 2]
    assert hashes[0] == hashes[1] != hashes[2]


def test_hashed_vocabulary_is_found() -> None:
    found = words(["the quick fox and the dog"])
    assert np.isin(found.hash, hashed(["the", "and"])).tolist() == [True, False, False, True, True, False]
