from __future__ import annotations

import numpy as np

from genus.validate import compressors


def test_noise_does_not_shrink_and_repetition_does():
    noise = np.random.default_rng(0).bytes(20_000)
    for squeeze in (compressors.with_gzip, compressors.with_xz):
        assert squeeze(noise) >= len(noise)
        assert squeeze(noise[:100] * 200) < 1_000


def test_text_that_training_has_adds_almost_nothing():
    noise = np.random.default_rng(0).bytes(300_000)
    assert compressors.primed(noise[1_000:21_000], noise) < 1_500
    assert compressors.primed(np.random.default_rng(1).bytes(20_000), noise) > 19_000
