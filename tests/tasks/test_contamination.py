"""Planted test items are found, others are not."""

import numpy as np
import pytest

from genus.tasks.contamination import RUN, found

WORDS = [f"word{i}" for i in range(100)]
ITEM = " ".join(WORDS[:30])


def dirty(item, *training):
    one = found([item], training)
    return bool(one.dirty[0]), bool(one.whole[0])


def test_thirteen_words_in_a_row_are_a_match_and_twelve_are_not():
    thirteen, twelve = " ".join(WORDS[5 : 5 + RUN]), " ".join(WORDS[5 : 4 + RUN])
    assert dirty(ITEM, f"before {thirteen} after") == (True, False)
    assert dirty(ITEM, f"before {twelve} after {twelve}") == (False, False)
    assert dirty(ITEM, f"{' '.join(WORDS[5:12])} x {' '.join(WORDS[12:20])}") == (False, False)


def test_case_and_punctuation_do_not_hide_a_copy():
    said = ", ".join(word.upper() + "!" for word in WORDS[:30])
    assert dirty(ITEM, f"so: {said}\n\nend") == (True, True)
    assert dirty(ITEM, "don't " + ITEM) == (True, True)


def test_short_items_match_whole_and_very_short_ones_are_not_judged():
    assert dirty("Which month comes after March?", "He asked which month comes after March, and left") == (True, True)
    assert dirty("Which month comes after March?", "which month comes after May") == (False, False)
    few = found(["2 + 2?", "Which month comes after March?"], ["what is 2 + 2?"])
    assert few.judged.tolist() == [False, True] and not few.dirty.any()


def test_many_items_are_told_apart():
    items = [" ".join(f"w{i}x{j}" for j in range(20)) for i in range(50)]
    one = found(items, [items[7] + " and " + items[31], "nothing", items[9][:-3]])
    assert np.flatnonzero(one.dirty).tolist() == [7, 9, 31]
    assert np.flatnonzero(one.whole).tolist() == [7, 31]


def test_no_training_is_no_match():
    assert not found([ITEM], []).dirty.any()
    assert found([], ["a"]).dirty.shape == (0,)


@pytest.mark.parametrize("text", ["naïve café déjà vu encore", "Straße der Bücher in Köln"])
def test_letters_of_all_languages_are_words(text):
    assert dirty(text, f"x {text.upper()} y") == (True, True)
