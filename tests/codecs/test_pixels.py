"""A picture of the codec's own shape comes back exactly; any other is cropped and resampled to it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from genus.codecs.pixels import Pixels, PixelsConfig
from genus.errors import GenusError, UsageError


def fit(*shapes, **config):
    return PixelsConfig(**config).fit(lambda: (np.full(s, 7, np.uint8) for s in shapes)).space.shape


@given(arrays(np.uint8, st.tuples(st.integers(4, 9), st.integers(4, 9), st.sampled_from([1, 3, 4]))))
@settings(max_examples=60, deadline=None)
def test_any_picture_comes_back(picture):
    """All that is seen of it: colours under full transparency become white."""
    codec = Pixels(*picture.shape)
    (stored,) = codec.encode([picture])
    x = codec.lift(stored)
    assert stored.dtype == torch.uint8 and x.dtype == torch.float32 and x.min() >= -1 and x.max() <= 1
    (back,) = codec.decode(x[None])
    assert back.dtype == np.uint8 and back.shape == picture.shape
    if picture.shape[2] == 4:
        seen = picture[:, :, 3] > 0
        assert (back[~seen] == [255, 255, 255, 0]).all() and (back[seen] == picture[seen]).all()
    else:
        assert (back == picture).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (8, 8), (31, 9)])
@pytest.mark.parametrize("given_channels", [0, 1, 3, 4])
def test_any_picture_fits(channels, size, given_channels):
    picture = np.full((*size, *([given_channels] * (given_channels > 0))), 200, np.uint8)
    (stored,) = Pixels(8, 6, channels).encode([picture])
    assert stored.shape == (channels, 8, 6)
    opaque = stored[: min(channels, 3)]
    # Alpha 200 over white lightens; all else keeps its value.
    assert ((opaque == 200) | ((opaque > 200) & (given_channels == 4) & (channels < 4))).all()


def test_the_middle_is_kept():
    wide = np.zeros((8, 24, 1), np.uint8)
    wide[:, 8:16] = 255
    assert Pixels(8, 8, 1).encode([wide])[0].float().mean() > 250


def test_decode_clips():
    x = torch.tensor([-3.0, 3.0, 0.0, 1.0]).view(1, 1, 2, 2)
    assert Pixels(2, 2, 1).decode(x)[0].flatten().tolist() == [0, 255, 128, 255]


def test_the_shape_is_found_in_the_data():
    assert fit((8, 6, 1), (8, 6, 1), (9, 9, 1)) == (1, 8, 6)
    assert fit((8, 6, 3), (9, 7, 3), (10, 12, 3)) == (3, 6, 6)  # no common size: a square
    assert fit((200, 100, 3)) == (3, 64, 32)
    assert fit((1, 1, 1)) == (1, 4, 4)
    assert fit((3, 4000, 1)) == (1, 4, 64)
    assert fit((8, 8, 3), (8, 8, 1), (8, 8, 1)) == (1, 8, 8)
    assert fit((8, 8, 3), height=12, channels=4) == (4, 12, 8)
    assert fit((28, 20, 1), shrink=2) == (1, 14, 10)
    assert fit((200, 100, 3), shrink=4) == (3, 16, 8) and fit((8, 8, 1), shrink=4) == (1, 4, 4)


def test_no_picture_at_all():
    with pytest.raises(GenusError, match=r"no picture"):
        fit()


def test_saved_and_loaded(tmp_path):
    codec = Pixels(5, 7, 3)
    config = codec.save(tmp_path)
    assert PixelsConfig.model_validate(config.model_dump(mode="json")).load(tmp_path).space == codec.space


@pytest.mark.parametrize("wrong", [{"height": 0}, {"width": -3}, {"channels": 2}, {"largest": 10**9}])
def test_shapes_out_of_range(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        PixelsConfig().but(**wrong)
