"""Texts told with a gap: nothing is lost, nothing depends on what stands beside it, and what is ours does not count."""

import copy
import itertools

import pytest
import torch

from genus.codecs.bpe import BpeConfig
from genus.codecs.bytes import Bytes
from genus.core import gapped
from genus.data.gaps import GapsConfig
from genus.data.packed import PackedConfig
from genus.errors import UsageError
from genus.run import in_memory

TEXTS = [f"def f{i}(x):\n    return x + {i}  # naïve\n" * 3 for i in range(12)]


@pytest.fixture(scope="module")
def codec():
    return BpeConfig(vocab=300, gaps=True).fit(lambda: iter(TEXTS))


def put_together(ids, codec):
    """The text that a told gap is of."""
    before, after, middle = codec.gaps.ids
    at = {mark: ids.index(mark) for mark in codec.gaps.ids}
    end = ids.index(codec.end) if codec.end in ids else len(ids)

    def text(part):
        return codec.decode(torch.tensor([[part]]))[0] if part else ""

    if at[after] == at[before] + 1:  # turned
        both = ids[at[middle] + 1 : end]
        return text(both) + text(ids[at[after] + 1 : at[middle]])
    fill = text(ids[at[middle] + 1 : end])
    return text(ids[at[before] + 1 : at[after]]) + fill + text(ids[at[after] + 1 : at[middle]])


def test_marks_are_ids_that_no_text_spells_and_survive_the_folder(codec, tmp_path):
    again = codec.save(tmp_path).load(tmp_path)
    assert again.gaps == codec.gaps == (codec.end - 3, codec.end - 2, codec.end - 1, True) and again.end == codec.end
    said = codec.encode(["<|before|><|middle|>"])[0]
    assert not set(codec.gaps.ids) & set(said[0].tolist()) and codec.decode(said[None]) == ["<|before|><|middle|>"]
    assert [codec.spelling[i] for i in codec.gaps.ids] == [b"", b"", b""]
    assert BpeConfig(vocab=300).fit(lambda: iter(TEXTS)).gaps is None
    with pytest.raises(UsageError, match="learned to fill no gaps"):
        gapped(Bytes(), "a", "b")


@pytest.mark.parametrize("turned", [False, True])
def test_every_text_is_still_there(codec, turned):
    codec = copy.copy(codec)
    codec.gaps = codec.gaps._replace(turned=turned)
    cache = in_memory(codec, TEXTS)
    config = GapsConfig(window=max(map(len, codec.encode(TEXTS)[0])) + 200, rate=1.0)
    batch = config.over(cache, codec, 0, 4).batch(0)
    joined = "".join(TEXTS)
    for x, mask in zip(batch.x[:, 0], batch.mask[:, 0], strict=True):
        used = int(mask.nonzero().max()) + 1
        rows, marks = [], [i for i in range(used) if x[i] == codec.gaps.before]
        for start, stop in itertools.pairwise(marks):  # a row that grew beyond the window is cut: its last text is torn
            rows.append(put_together(x[start:stop].tolist(), codec))
        assert len(rows) > 1 and all(row in joined for row in rows)
        assert not mask[torch.isin(x, torch.tensor(codec.gaps.ids))].any() and mask[: used - 1].any()
        ended = [i for i in range(used) if x[i] == codec.end]
        assert len(ended) >= len(marks) - 1 and mask[ended].all()


def test_rate_is_as_asked(codec):
    cache = in_memory(codec, [text * 9 for text in TEXTS])
    before, after, _ = codec.gaps.ids
    source = GapsConfig(window=64).over(cache, codec, 3, 200)
    x = source.batch(0).x[:, 0]
    told = (x[:, 0] == before).float()
    assert 0.35 < told.mean() < 0.6 and (x[x[:, 0] == before, 1] == after).all()
    plain = GapsConfig(window=64, rate=0.0).over(cache, codec, 3, 200).batch(0)
    window = PackedConfig(window=52).over(cache, codec, 3, 200).batch(0)
    assert torch.equal(plain.x[..., :52], window.x) and torch.equal(plain.mask[..., :52], window.mask)


def test_a_sample_is_the_same_in_any_batch_and_another_in_another_epoch(codec):
    cache = in_memory(codec, TEXTS)
    config = GapsConfig(window=40, rate=1.0)
    one, four = config.over(cache, codec, 5, 1), config.over(cache, codec, 5, 4)
    whole = four.batch(2)
    for i in range(4):
        alone = one.batch(8 + i)
        assert torch.equal(alone.x[0], whole.x[i]) and torch.equal(alone.mask[0], whole.mask[i])
    assert torch.equal(four.batch(2).x, whole.x)
    assert not torch.equal(four.batch(2 + config.samples(cache)).x, whole.x)


def test_held_out_text_is_judged_as_it_is(codec):
    cache = in_memory(codec, TEXTS)
    batches = list(GapsConfig(window=40).judged(cache, codec, 4))
    assert sum(int(b.mask.sum()) for b in batches) == cache.total
    with pytest.raises(UsageError, match=r"codec\.gaps=true"):
        GapsConfig().over(in_memory(Bytes(), TEXTS), Bytes(), 0, 4)


def test_a_gap_is_told_in_the_order_of_the_codec(codec):
    (first, last), marks = ([int(i) for i in x[0, :-1]] for x in codec.encode(["def f0", "return"])), codec.gaps
    assert gapped(codec, "def f0", "return")[0].tolist() == [marks.before, marks.after, *last, marks.middle, *first]
    straight = copy.copy(codec)
    straight.gaps = marks._replace(turned=False)
    assert gapped(straight, "def f0", "return")[0].tolist() == [marks.before, *first, marks.after, *last, marks.middle]
