"""One item a sample, in an order that (seed, step) alone decides."""

from collections import Counter

import pytest
import torch
import toys

from genus.data.source import order, permutation
from genus.data.stacked import StackedConfig

CODEC, CACHE = toys.data(toys.image_phase(), 7)
CONFIG = StackedConfig()


def ids(batch, n, seed=3):
    source = CONFIG.over(CACHE, CODEC, seed, batch)
    return [name for step in range(-(-n // batch)) for name in source.batch(step).ids][:n]


def test_the_order_is_a_function_of_seed_and_step():
    one = ids(1, 42)
    assert ids(3, 42) == ids(8, 42) == ids(42, 42) == one  # a batch may be larger than the data
    assert ids(1, 42, seed=4) != one


def test_an_epoch_has_every_item_once():
    seen = ids(5, 21)
    for epoch in range(3):
        assert sorted(seen[7 * epoch : 7 * epoch + 7]) == sorted(CACHE.ids)
    assert seen[:7] != seen[7:14] and CONFIG.samples(CACHE) == 7


def test_a_batch_is_lifted_with_its_fields():
    batch = CONFIG.over(CACHE, CODEC, 0, 4).batch(2)
    assert batch.x.shape == (4, 1, 8, 8) and batch.x.dtype == torch.float32 and batch.mask is None
    assert batch.fields["label"] == [toys.labels(7)[int(i)] for i in batch.ids]


@pytest.mark.parametrize("batch", [1, 3, 7, 100])
def test_once(batch):
    parts = list(CONFIG.once(CACHE, CODEC, batch))
    assert [name for p in parts for name in p.ids] == CACHE.ids
    assert torch.equal(torch.cat([p.x for p in parts]), CODEC.lift(CACHE.take(range(7))))


def test_permutations_are_fair():
    first = Counter(int(permutation(0, epoch, 5)[0]) for epoch in range(2000))
    assert len(first) == 5 and all(abs(n - 400) < 80 for n in first.values())
    assert permutation(-1, 0, 3).shape == (3,)
    assert order(0, 5, 3, 1) == [(5, 0), (6, 0), (7, 0)]
