"""Windows: in an order that (seed, step) alone decides, over all cells, each held-out cell counted exactly once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genus.codecs.bytes import Bytes
from genus.core import Network, Noise, Roads, Space
from genus.data.cache import Cache
from genus.data.packed import PackedConfig
from genus.errors import UsageError
from genus.networks.transformer import TransformerConfig
from genus.objectives.autoregression import Autoregression
from genus.run import in_memory

CODEC = Bytes()
DOCUMENTS = st.lists(st.integers(0, 40), min_size=1, max_size=6)


def made(lengths):
    """Documents of these lengths whose every byte tells where it stands."""
    whole = bytes(range(1, 128)) * 3
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return in_memory(CODEC, [whole[s : s + n].decode() for s, n in zip(starts, lengths, strict=True)])


@given(DOCUMENTS, st.integers(2, 24), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_once_counts_every_cell_once(lengths, window, batch):
    cache = made(lengths)
    counted = {name: [] for name in cache.ids}
    for part in PackedConfig(window=window).once(cache, CODEC, batch):
        assert len(part) <= batch and part.x.shape[1:] == (1, window) == part.mask.shape[1:]
        for x, mask, name in zip(part.x, part.mask, part.ids, strict=True):
            counted[name] += x[mask].tolist()
    for i, name in enumerate(cache.ids):
        assert counted[name] == cache.cut(int(cache.starts[i]), int(cache.starts[i + 1]))[0].tolist()


@given(DOCUMENTS, st.integers(4, 24))
@settings(max_examples=50, deadline=None)
def test_once_gives_context(lengths, window):
    """A counted cell is its document's first, or is read behind half a window at least (or all there is)."""
    firsts = [int(p.mask[0, 0].int().argmax()) for p in PackedConfig(window=window).once(made(lengths), CODEC, 1)]
    assert firsts.count(0) == len(lengths) and set(firsts) <= {0, window // 2}


def test_once_feeds_an_exact_likelihood():
    """A model that knows nothing gives each cell, the end mark included, one 257th."""

    class Flat(Network):
        space = Space((8,), 1, 257)

        def forward(self, x, t=None, cond=None, state=None):
            return torch.zeros(*x.shape, 257)

    total = 0.0
    for part in PackedConfig(window=8).once(made([30, 0, 5]), CODEC, 3):
        total += float(Autoregression().log_prob({"net": Flat()}, part, Noise(0)).nats.sum())
    assert total == pytest.approx(-(31 + 1 + 6) * torch.tensor(257.0).log().item())


def rows(config, cache, batch, n, seed=3):
    source = config.over(cache, CODEC, seed, batch)
    batches = [source.batch(step) for step in range(-(-n // batch))]
    x, mask = torch.cat([b.x for b in batches])[:n], torch.cat([b.mask for b in batches])[:n]
    return x, mask, [name for b in batches for name in b.ids][:n]


@pytest.mark.parametrize("lengths", [[300], [30, 2, 0, 50, 9], [3], [0]])
def test_the_order_is_a_function_of_seed_and_step(lengths):
    cache, config = made(lengths), PackedConfig(window=16)
    one, mask, ids = rows(config, cache, 1, 40)
    for batch in (3, 8, 40):
        other = rows(config, cache, batch, 40)
        assert torch.equal(one, other[0]) and torch.equal(mask, other[1]) and ids == other[2]
    source = config.over(cache, CODEC, 3, 4)
    assert torch.equal(source.batch(5).x, source.batch(5).x) and torch.equal(source.batch(5).x, one[20:24])


def test_seeds_and_epochs_differ():
    cache, config = made([300]), PackedConfig(window=16)
    n = config.samples(cache)
    one, _, _ = rows(config, cache, 1, 2 * n)
    assert not torch.equal(one[:n], one[n:])
    assert not torch.equal(one[:n], rows(config, cache, 1, n, seed=4)[0])


@pytest.mark.parametrize("total", [20, 46, 61, 300])
def test_an_epoch_counts_a_run_of_cells_once(total):
    """Windows meet without gap or overlap; over the epochs every cell is counted, the first only at its document."""
    cache = Cache(np.arange(total, dtype=np.int32)[:, None], True, ["0"], np.array([0, total]), {})
    config = PackedConfig(window=16)
    n = config.samples(cache)
    seen = torch.zeros(total, dtype=torch.long)
    source = config.over(cache, CODEC, 0, n)
    for epoch in range(300):
        part = source.batch(epoch)
        places = sorted(part.x[part.mask].tolist())
        assert places == list(range(places[0], places[-1] + 1)) and len(places) >= 15 * n
        seen[places] += 1
    assert (seen > 0).all()


def test_shorter_than_a_window():
    x, mask, ids = rows(PackedConfig(window=16), made([3]), 2, 2)
    assert x.shape == (2, 1, 16) and mask.sum(-1).flatten().tolist() == [4, 4] and ids == ["0", "0"]


def test_the_first_cell_counts_only_where_a_document_starts():
    cache = made([10, 10, 10])
    x, mask, ids = rows(PackedConfig(window=6), cache, 1, 60)
    starts = {1, 11, 21}
    for row, m in zip(x, mask, strict=True):
        assert bool(m[0, 0]) == (int(row[0, 0]) in starts) and m[0, 1:].all()
    assert set(ids) <= set(cache.ids)


@pytest.mark.parametrize("lengths", [[10, 3, 0, 7, 40, 1], [300], [3], [0, 0]])
def test_documents_that_stand_alone_are_marked(lengths):
    cache = made(lengths)
    part = PackedConfig(window=16, alone=True).over(cache, CODEC, 0, 20).batch(1)
    plain = PackedConfig(window=16).over(cache, CODEC, 0, 20).batch(1)
    assert torch.equal(part.x, plain.x) and torch.equal(part.mask, plain.mask) and not plain.extra
    for x, mask, starts in zip(part.x[:, 0], part.mask[:, 0], part.extra["starts"], strict=True):
        assert starts[0]
        for at in range(1, 16):  # behind an end mark, where there is more
            assert bool(starts[at]) == (bool(mask[at]) and x[at - 1].item() == 256)


def test_a_packed_window_costs_what_its_documents_cost_alone():
    """Which is how they are scored."""
    torch.manual_seed(0)
    lengths = [10, 3, 0, 7]
    cache, config = made(lengths), PackedConfig(window=24, alone=True)
    net = TransformerConfig(depth=2, width=32, head=16).build(Space((24,), 1, 257), Roads())
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    part = config.over(cache, CODEC, 0, 1).batch(0)
    assert part.mask.all()
    packed = Autoregression().log_prob({"net": net}, part, Noise(0)).nats.sum()
    scored = [Autoregression().log_prob({"net": net}, p, Noise(0)).nats.sum() for p in config.once(cache, CODEC, 2)]
    assert packed.item() == pytest.approx(sum(scored).item(), abs=1e-4)
    loss, _ = Autoregression().loss({"net": net}, part, {}, "main")
    assert loss.item() == pytest.approx(-packed.item() / 24, abs=1e-5)


def test_a_network_that_cannot_keep_texts_apart_says_so():
    class Plain(Network):
        space = Space((8,), 1, 257)

        def forward(self, x, t=None, cond=None, state=None):
            return torch.zeros(*x.shape, 257)

    part = PackedConfig(window=8, alone=True).over(made([30, 0]), CODEC, 0, 2).batch(0)
    with pytest.raises(UsageError, match=r"source\.alone"):
        Autoregression().loss({"net": Plain()}, part, {}, "main")


@pytest.mark.parametrize("window", [1, 0, -5])
def test_windows_hold_two_cells(window):
    with pytest.raises(UsageError, match=r"window"):
        PackedConfig().but(window=window)
