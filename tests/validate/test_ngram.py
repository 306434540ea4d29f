from __future__ import annotations

import math
import time

import numpy as np
import pytest

from genus.errors import UsageError
from genus.validate import ngram


def test_probabilities_after_every_context_sum_to_one():
    model = ngram.count([b"abracadabra", b"banana", b"abba"], order=3)
    for context in (b"ab", b"zz", b"a"):
        p = []
        for symbol in range(257):
            window = 0
            for s in [*context.rjust(2, b"a"), symbol]:
                window = window << ngram.BITS | s
            p.append(_probability(model, window))
        assert sum(p) == pytest.approx(1.0, abs=1e-12)


def _probability(model: ngram.NGram, window: int) -> float:
    """The recursion of the module's docstring, one number at a time."""
    p = 1 / 257
    for k, table in enumerate(model.tables, 1):
        gram = window & ((1 << ngram.BITS * k) - 1)
        mass = dict(zip(table.grams.tolist(), table.mass.tolist(), strict=True))
        gamma = dict(zip(table.contexts.tolist(), table.gamma.tolist(), strict=True))
        p = mass.get(gram, 0.0) + gamma.get(gram >> ngram.BITS, 1.0) * p
    return p


def test_a_toy_by_hand():
    # "aab": bigrams (.a) (aa) (ab) (b.), each once: too few to estimate discounts, so D = 1/2 throughout.
    # Continuation counts below: a 2 (after . and a), b 1, end 1; D = 1/2 each, c = 4, gamma = 3/8.
    model = ngram.count([b"aab"], order=2)
    low = {"a": 1.5 / 4 + 0.375 / 257, "b": 0.5 / 4 + 0.375 / 257, "end": 0.5 / 4 + 0.375 / 257}
    # after "." (c = 1): (1 - 1/2) + 1/2 low; after "a" (c = 2): 1/4 + 1/2 low; after "b" (c = 1): 1/2 + 1/2 low.
    expected = -math.log((0.5 + 0.5 * low["a"]) * (0.25 + 0.5 * low["b"]) * (0.5 + 0.5 * low["end"]))
    assert model.nats(b"ab") == pytest.approx(expected, rel=1e-12)


def test_unseen_contexts_and_bytes_cost_a_finite_amount():
    model = ngram.count([b"aaaa"])
    assert math.isfinite(model.nats(bytes(range(256))))
    assert model.all_nats([]).shape == (0,)


def test_odd_counts_of_counts_leave_the_unseen_some_mass():
    for text in (
        b"aabbccddeeff" * 3 + b"xyz",
        b"ab" * 2 + b"cd" * 2 + b"e",
        b"".join(bytes([i]) * 2 for i in range(90)),
    ):
        for order in range(1, 8):
            assert math.isfinite(ngram.count([text], order).nats(bytes(range(256)) + text))


def test_documents_are_scored_apart():
    model = ngram.count([b"the cat sat", b"the dog sat"])
    both = model.all_nats([b"the cat", b"", b"the dog sat"])
    assert both == pytest.approx([model.nats(b"the cat"), model.nats(b""), model.nats(b"the dog sat")])


def test_it_reaches_the_entropy_of_a_markov_source():
    rng = np.random.default_rng(0)
    chain = np.array([[0.9, 0.1, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.25, 0.25, 0.25, 0.25], [0.7, 0.0, 0.0, 0.3]])
    eig, vec = np.linalg.eig(chain.T)
    still = np.real(vec[:, np.argmax(np.real(eig))])
    still /= still.sum()
    entropy = -(still[:, None] * chain * np.log(np.where(chain > 0, chain, 1))).sum()

    def draw(n: int) -> bytes:
        states, u = [0], rng.random(n)
        steps = chain.cumsum(1)
        for v in u:
            states.append(int(np.searchsorted(steps[states[-1]], v)))
        return bytes(97 + s for s in states)

    held = draw(50_000)
    model = ngram.count([draw(200_000)])
    assert model.nats(held) / len(held) == pytest.approx(entropy, rel=0.02)
    # and more data or more order does not make it worse than fewer
    assert model.nats(held) < ngram.count([draw(1_000)]).nats(held)


def test_five_megabytes_are_counted_quickly():
    rng = np.random.default_rng(0)
    train = rng.integers(97, 105, 2_000_000, dtype=np.uint8).tobytes()
    begun = time.process_time()
    ngram.count([train]).nats(train[:200_000])
    assert time.process_time() - begun < 12


def test_an_order_that_cannot_be_packed_is_refused():
    with pytest.raises(UsageError, match="order = 8"):
        ngram.count([b"a"], order=8)
