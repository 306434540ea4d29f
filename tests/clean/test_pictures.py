from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from genus.clean.pictures import AlikePictures, Blank, within
from genus.clean.rule import Pile
from genus.clean.twins import Shelf, Table


def scene(seed: int, side: int = 96) -> np.ndarray:
    """Smooth blobs of colour, as in a photograph."""
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def stored(x: np.ndarray, **how: object) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", **how)
    return np.asarray(Image.open(file))


def pairs(images: list[np.ndarray]) -> set[tuple[int, int]]:
    rule = AlikePictures()
    records, fit = rule.record(Pile("image", images))
    assert fit.all()
    shelf = Shelf(rule.width)
    shelf.add(records)
    found = rule.pairs(Table(shelf, np.arange(len(images)), lambda some: {i: images[i] for i in some}))
    shelf.close()
    return set(zip(found.low.tolist(), found.high.tolist(), strict=True))


def test_copies_are_found_and_others_not() -> None:
    base = [scene(i) for i in range(30)]
    copies = [stored(x, quality=60) for x in base[:10]]
    copies += [np.asarray(Image.fromarray(x).resize((64, 64), Image.Resampling.LANCZOS)) for x in base[10:20]]
    copies += [np.clip(x * 0.9 + 12, 0, 255).astype(np.uint8) for x in base[20:]]
    assert pairs(base + copies) == {(i, 30 + i) for i in range(30)}


def test_one_changed_detail_is_another_picture() -> None:
    face = np.full((64, 64, 3), 240, np.uint8)
    one, two = face.copy(), face.copy()
    for x in (one, two):
        x[8:56, 8:12] = x[8:56, 52:56] = x[8:12, 8:56] = x[52:56, 8:56] = 20
    one[16:32, 31:34] = 20
    two[32:48, 31:34] = 20
    assert not pairs([one, two])


def test_digits_that_look_alike_stay() -> None:
    digits = [np.round(x * 15.9).astype(np.uint8)[:, :, None] for x in load_digits().images]
    assert not pairs(digits)
    assert pairs([*digits[:3], digits[1].copy()]) == {(1, 3)}


def test_blank() -> None:
    grey = np.full((8, 8, 1), 7, np.uint8)
    clear = np.zeros((8, 8, 4), np.uint8)
    icon = clear.copy()
    icon[2:6, 2:6, 3] = 255
    noisy = grey.copy()
    noisy[3, 3] = 9
    assert set(Blank().judge(Pile("image", [grey, clear, icon, noisy, scene(0)]))) == {0, 1, 3}


@pytest.mark.parametrize("few", [0, 1 << 14])
def test_all_pairs_to_distance_seven(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genus.clean.pictures.FEW", few)
    draw = np.random.default_rng(0)
    base = draw.integers(0, 2**63, 400, dtype=np.uint64)
    flips = [sum(1 << int(b) for b in draw.choice(64, i % 8, replace=False)) for i in range(400)]
    hashes = np.concatenate([base, base ^ np.array(flips, np.uint64)])
    low, high = within(hashes, 7)
    assert set(zip(low.tolist(), high.tolist(), strict=True)) == {(i, 400 + i) for i in range(400)}
