"""Spans: told and said make the piece again, sentinels are new ids, each cell is scored once behind those before it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from genus.codecs.bytes import Bytes
from genus.core import Space
from genus.data.spans import SpansConfig, corrupted
from genus.errors import UsageError
from genus.run import in_memory

CODEC = Bytes()
SENTINEL = 257


def made(*lengths):
    """Documents of these lengths; each byte but the end marks tells where in its document it stands."""
    return in_memory(CODEC, [bytes(32 + i % 90 for i in range(n)).decode() for n in lengths])


def filled(told, said):
    """The spans put back into their gaps."""
    spans, last = {}, None
    for i in said.tolist():
        if i >= SENTINEL:
            assert i == (SENTINEL if last is None else last + 1)  # in order, each once
            last, spans[i] = i, []
        else:
            spans[last].append(i)
    assert spans.pop(last) == []  # the last sentinel ends them
    out = []
    for i in told.tolist():
        out += spans.pop(i) if i >= SENTINEL else [i]
    assert not spans
    return out


@given(st.integers(4, 300), st.floats(0.05, 0.6), st.floats(1, 8), st.integers(0, 1 << 30))
@settings(max_examples=100, deadline=None)
def test_told_and_said_make_the_piece(n, rate, mean, seed):
    config = SpansConfig(rate=rate, mean=mean)
    out, spans = config.cut(n)
    x = np.arange(n) % SENTINEL
    told, said = corrupted(x, out, spans, SENTINEL, np.random.default_rng(seed))
    assert filled(told, said) == x.tolist()
    assert len(told) == n - out + spans and len(said) == out + spans + 1
    assert out == max(1, min(round(n * rate), n - 1)) and told[0] < SENTINEL <= told[-1]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_sample_is_a_function_of_seed_and_number(batch):
    config, cache = SpansConfig(window=16), made(40, 3, 100)
    one, many = (config.over(cache, CODEC, 3, size) for size in (1, batch))
    part = many.batch(2)
    for i in range(batch):
        alone = one.batch(2 * batch + i)
        n = int(alone.mask.sum())
        assert torch.equal(alone.x[0, 0, :n], part.x[i, 0, : int(part.mask[i].sum())])
        assert torch.equal(alone.fields["passage"][0], part.fields["passage"][i])
    assert not torch.equal(config.over(cache, CODEC, 4, 8).batch(0).x, config.over(cache, CODEC, 3, 8).batch(0).x)


def test_pieces_are_cut_anew_each_epoch_and_continue_where_they_should():
    config, cache = SpansConfig(window=16), made(40, 3, 100)
    pieces = config.pieces(cache)
    assert sum(p.stop - p.start for p in pieces) == cache.total and max(p.stop - p.start for p in pieces) <= 16
    source, seen, kinds = config.over(cache, CODEC, 0, len(pieces)), set(), [0, 0]
    for epoch in range(30):
        part = source.batch(epoch)
        for x, mask, told in zip(part.x, part.mask, part.fields["passage"], strict=True):
            said = x[mask].numpy()
            spans = bool((told >= SENTINEL).any())
            whole = filled(told, said) if spans else [*told.tolist(), *said.tolist()]
            assert whole in [cache.cut(p.start, p.stop)[0].tolist() for p in pieces]
            kinds[spans] += 1
            if not len(told):  # nothing told: the beginning of a document
                assert whole[0] in (32, 256)
            seen.add((tuple(told.tolist()), tuple(said.tolist())))
    assert min(kinds) > 0.35 * sum(kinds) and len(seen) > 5 * len(pieces)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(4, 24), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_every_cell_is_scored_once_behind_what_came_before(lengths, window, batch):
    cache, config = made(*lengths), SpansConfig(window=window)
    done = {name: [] for name in cache.ids}
    for part in config.once(cache, CODEC, batch):
        assert len(part) <= batch
        for x, mask, told, name in zip(part.x, part.mask, part.fields["passage"], part.ids, strict=True):
            past = done[name]
            assert told.tolist() == past[len(past) - len(told) :] and (len(told) > 0) == bool(past)
            assert int(mask.sum()) <= window and len(told) + int(mask.sum()) <= window
            past += x[mask].tolist()
    for i, name in enumerate(cache.ids):
        assert done[name] == cache.cut(int(cache.starts[i]), int(cache.starts[i + 1]))[0].tolist()


def test_held_out_pieces_are_always_cut_alike():
    config, cache = SpansConfig(window=16), made(40, 3, 100)
    once, again = ([b.x for b in config.judged(cache, CODEC, n)] for n in (4, 4))
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert sum(len(b) for b in config.judged(cache, CODEC, 4)) == len(config.pieces(cache))


def test_the_space_holds_every_sentinel():
    config = SpansConfig(window=64, prefix=0)
    space = config.space(CODEC.space)
    assert space.dims == (64,) and space.stops == CODEC.space.stops
    part = config.over(made(300, 300), CODEC, 0, 32).batch(0)
    assert int(part.x.max()) == (space.vocab or 0) - 1
    with pytest.raises(UsageError, match=r"codecs\.bpe"):
        config.space(Space((8, 8), 3))
