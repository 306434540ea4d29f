from __future__ import annotations

import numpy as np
import pytest

from genus.validate import verbatim


def noise(n: int, seed: int) -> bytes:
    return np.random.default_rng(seed).integers(97, 123, n, dtype=np.uint8).tobytes()


@pytest.mark.parametrize("width", [1, 2, 3, 7, 50, 64])
def test_windows_are_equal_exactly_where_their_bytes_are(width):
    data = noise(400, 0) + noise(400, 1) + noise(400, 0)
    hashes = verbatim.windows(data, width)
    assert len(hashes) == len(data) - width + 1
    pieces = [data[i : i + width] for i in range(len(hashes))]
    assert len(set(hashes.tolist())) == len(set(pieces))
    assert hashes[0] == hashes[800]


def test_a_planted_copy_is_found_with_its_length_and_its_document():
    train = [noise(3000, s) for s in range(5)]
    text = noise(300, 90) + train[3][1000:1123] + noise(200, 91) + train[1][:60]
    found = verbatim.overlaps([text, noise(500, 92), b"short"], iter(train))
    assert (found[0].length, found[0].start, found[0].source) == (123, 300, 3)
    assert [f.length for f in found[1:]] == [0, 0]


def test_under_the_window_is_no_copy_and_at_the_window_is_one():
    train = [noise(1000, 0)]
    at = [b"#" + train[0][10 : 10 + n] + b"#" for n in (49, 50)]
    assert [f.length for f in verbatim.overlaps(at, train, 50)] == [0, 50]


def test_nothing_to_compare():
    assert verbatim.overlaps([], [b"x" * 100]) == []
    assert verbatim.overlaps([b"y" * 100], [])[0].length == 0
