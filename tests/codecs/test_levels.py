"""All 256 levels are the pixels themselves; fewer are the nearest of even steps, and it is said that they are fewer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from genus.codecs.levels import Levels, LevelsConfig
from genus.codecs.pixels import Pixels, unhidden
from genus.core import Space
from genus.validate.likelihood import coarser


@given(arrays(np.uint8, st.tuples(st.integers(4, 9), st.integers(4, 9), st.sampled_from([1, 3, 4]))))
@settings(max_examples=40, deadline=None)
def test_any_picture_comes_back(picture):
    codec = Levels(Pixels(*picture.shape), 256)
    (stored,) = codec.encode([picture])
    assert stored.dtype == torch.uint8 and tuple(stored.shape) == codec.space.shape
    (back,) = codec.decode(codec.lift(stored)[None])
    assert (back == unhidden(picture)).all()


def test_values_of_a_pixel_come_one_after_another():
    picture = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    codec = Levels(Pixels(4, 5, 3), 256)
    assert codec.space.dims == (4, 5, 3) and codec.space.channels == 1 and codec.space.vocab == 256
    assert codec.encode([picture])[0].flatten().tolist() == list(range(60))
    assert Levels(Pixels(4, 5, 1), 256).space.dims == (4, 5)


@pytest.mark.parametrize("levels", [2, 3, 16, 255])
def test_fewer_levels_are_the_nearest_step(levels):
    codec = Levels(Pixels(16, 16, 1), levels)
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    stored = codec.encode([picture])[0]
    assert stored.unique().tolist() == list(range(levels))
    (back,) = codec.decode(stored[None].long())
    assert np.abs(back.astype(int) - picture).max() <= 127.5 / (levels - 1) + 0.5
    assert (codec.encode([back])[0] == stored).all()


def test_its_configuration_brings_it_back(tmp_path):
    codec = LevelsConfig(levels=16).fit(lambda: iter([np.zeros((6, 7, 3), np.uint8)]))
    assert codec.save(tmp_path).load(tmp_path).space == codec.space


def test_what_is_said_of_its_bits():
    assert coarser(Levels(Pixels(4, 4, 1), 16).space) == " of 16 levels"
    assert coarser(Levels(Pixels(4, 4, 1), 256).space) == coarser(Pixels(4, 4, 1).space) == ""
    assert coarser(Space((4,), 1, 11)) == "" and Space((4,)).levels is None
