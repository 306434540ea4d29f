"""Noise is addressed, batches are cut and weighed, a model is asked: the promises that every other room builds on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from genus.core import Batch, Cond, Noise, Objective, Roads, Space
from genus.errors import NoLikelihood, UsageError

LONG = Noise(11, tuple(range(64)))


@pytest.mark.parametrize("draw", ["uniform", "normal", "gumbel", "bits"])
def test_a_sample_alone_is_the_sample_among_64(draw):
    whole = getattr(LONG, draw)(3, (2, 5))
    for i in (0, 7, 63):
        alone = getattr(Noise(11, (i,)), draw)(3, (2, 5))
        assert (torch.as_tensor(alone[0].astype("int64") if draw == "bits" else alone[0])
                == torch.as_tensor(whole[i].astype("int64") if draw == "bits" else whole[i])).all()  # fmt: skip


@given(st.integers(-(2**64), 2**64), st.lists(st.integers(0, 2**40), min_size=1, max_size=6), st.integers(0, 2**62))
@settings(max_examples=40, deadline=None)
def test_draws_do_not_depend_on_batch_or_order(key, samples, draw):
    noise = Noise(key, tuple(samples))
    assert torch.equal(noise.uniform(draw, (3,)), torch.cat([Noise(key, (i,)).uniform(draw, (3,)) for i in samples]))
    turned = Noise(key, tuple(reversed(samples)))
    assert torch.equal(turned.uniform(draw, (3,)), noise.uniform(draw, (3,)).flip(0))
    # A shorter draw is the beginning of a longer one.
    assert torch.equal(noise.uniform(draw, (2,)), noise.uniform(draw, (3,))[:, :2])


def test_known_answer():
    """Written down once: a change of these numbers makes every published sample irreproducible."""
    noise = Noise(1, (0, 7))
    assert [hex(w) for w in noise.bits(0, (2,)).flatten().tolist()] == KNOWN["bits"]
    assert noise.uniform(2).tolist() == pytest.approx(KNOWN["uniform"], abs=0)
    assert noise.normal(0, (2,)).flatten().tolist() == pytest.approx(KNOWN["normal"], rel=1e-6)
    assert hex(noise.child("train").key) == KNOWN["child"]
    reference = np.random.Philox(key=np.array([1, 7], np.uint64), counter=np.array([0, 2, 0, 0], np.uint64))
    assert noise.bits(2, (3,))[1].tolist() == reference.random_raw(3).tolist()


KNOWN = {
    "bits": ["0x4db6a27b756282df", "0xd944fa03babe0e2f", "0xebe6e1df2ac1ee53", "0x8211cacb90e8052"],
    "uniform": [0.9456775220595027, 0.7917082646924322],
    "normal": [-0.5141658186912537, 1.0309110879898071, 1.4151772260665894, -1.8556007146835327],
    "child": "0x52ca24e83c7f2e9d",
}


@pytest.fixture(scope="module")
def many():
    return Noise(5, tuple(range(200)))


def test_uniform_is_uniform(many):
    u = many.uniform(0, (500,)).flatten().numpy()
    assert abs(u.mean() - 0.5) < 0.005 and abs(u.var() - 1 / 12) < 0.002
    assert stats.kstest(u, "uniform").pvalue > 0.01


def test_normal_is_normal(many):
    z = many.normal(1, (500,)).flatten().double().numpy()
    assert abs(z.mean()) < 0.01 and abs(z.var() - 1) < 0.02
    assert stats.kstest(z, "norm").pvalue > 0.01
    assert many.normal(1).dtype == torch.float32


def test_gumbel_draws_from_the_softmax(many):
    assert stats.kstest(many.gumbel(2, (500,)).flatten().numpy(), "gumbel_r").pvalue > 0.01
    logits = torch.tensor([0.1, 0.6, 0.3]).log()
    drawn = (logits + many.gumbel(3, (500, 3))).argmax(-1).flatten().bincount(minlength=3)
    assert stats.chisquare(drawn.numpy(), [1e4, 6e4, 3e4]).pvalue > 0.01


@pytest.mark.parametrize("size", [3, 5000])
@pytest.mark.parametrize("spread", [0.0, 1.0, 12.0])
def test_the_chosen_id_is_the_one_that_all_noise_would_choose(size, spread, monkeypatch):
    """Where float32 decides, where one id is nearly sure, where ids are forbidden, and where none can be ruled out."""
    logits = torch.randn(200, 2, size, generator=torch.Generator().manual_seed(size)) * spread
    logits[:50, 0, 0] += 15  # it wins with noise that float32 does not hold
    logits[50:80, :, 1:] = -math.inf
    noise = Noise(5, tuple(range(200)))
    for draw, kind in enumerate((torch.float32, torch.float64)):
        known = (logits.to(kind) + noise.gumbel(draw, logits.shape[1:])).argmax(-1)
        assert torch.equal(noise.chosen(draw, logits.to(kind)), known)
    low = np.full((1, 1, size), 3, np.uint64)
    low[..., 1] = 2**36
    monkeypatch.setattr(Noise, "bits", lambda self, draw, shape=(): low)
    monkeypatch.setattr("genus.core.noise.compiled", lambda _: None)
    assert Noise(0).chosen(0, torch.zeros(1, 1, size)).tolist() == [[1]]


@pytest.mark.parametrize("shape", [(3, 5000), (2, 3, 2049), (2, 2, 2, 2050)])
@pytest.mark.parametrize("spread", [0.0, 3.0, 30.0])
def test_the_compiled_file_chooses_as_python_does(shape, spread, monkeypatch):
    logits = spread * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    logits[..., ::3] = -math.inf
    noise = Noise(2**70 + 3, tuple(range(shape[0])))
    fast = [noise.chosen(draw, logits) for draw in range(4)]
    monkeypatch.setattr("genus.core.noise.compiled", lambda _: None)
    assert all(torch.equal(noise.chosen(draw, logits), found) for draw, found in enumerate(fast))


def test_samples_and_draws_and_children_are_uncorrelated():
    noise = Noise(9, tuple(range(300)))
    a = noise.normal(0, (300,)).double()
    others = [noise.normal(1, (300,)), noise.child("a").normal(0, (300,)), noise.child("b").normal(0, (300,))]
    others += [noise.of(range(1, 301)).normal(0, (300,)), Noise(10, noise.samples).normal(0, (300,))]
    for b in others:
        assert abs(float((a * b.double()).mean())) < 0.015
    assert noise.child("a") != noise.child("b") and noise.child("a") == noise.child("a")


@pytest.mark.parametrize("word", [0, 2**64 - 1])
def test_the_most_extreme_words_stay_inside_the_open_interval(monkeypatch, word):
    monkeypatch.setattr(Noise, "bits", lambda self, draw, shape=(): np.full((1, *shape), word, np.uint64))
    noise = Noise(0)
    assert 0 < float(noise.uniform(0)) < 1
    assert math.isfinite(noise.normal(0)) and math.isfinite(noise.gumbel(0))


def test_the_top_bit_is_the_sign():
    words = LONG.bits(0, (8,)) >> np.uint64(63)
    assert ((LONG.normal(0, (8,)) > 0).numpy() == words.astype(bool)).all()


def test_parts_of_noise():
    assert LONG.part(3, 5) == Noise(11, (3, 4)) and len(LONG.part(3, 5)) == 2
    assert LONG.of(np.arange(2)) == Noise(11, (0, 1))


def batch():
    x = torch.arange(24.0).view(4, 1, 6)
    cond = Cond(vector=torch.arange(4.0)[:, None])
    return Batch(x, {"label": list("abcd")}, cond, x > 3, torch.ones(4), {"old": x[:, 0, 0]}, list("wxyz"))


def test_batch_part_cuts_everything():
    part = batch().part(1, 3)
    assert len(part) == 2 and part.fields == {"label": ["b", "c"]} and part.ids == ["x", "y"]
    assert part.x[0, 0, 0] == 6 and part.cond.vector.flatten().tolist() == [1, 2]
    assert part.mask.shape == part.x.shape and len(part.weight) == 2 and part.extra["old"].tolist() == [6, 12]


def test_cells_of_parts_sum_to_the_whole():
    whole = batch()
    assert whole.cells == 20 and whole.part(0, 1).cells + whole.part(1, 4).cells == 20
    assert replace(whole, mask=None).cells == 24


def test_batch_moves_whole():
    moved = batch().to("meta")
    assert {t.device.type for t in (moved.x, moved.mask, moved.weight, moved.extra["old"], moved.cond.vector)} == {
        "meta"
    }


def test_cond_joins_road_by_road():
    a = Cond(vector=torch.zeros(2, 3))
    assert a.join(Cond(vector=torch.ones(2, 3))).vector.shape == (4, 3)
    assert a.join(a).grid is None and Cond().map(torch.neg) == Cond()


def test_space():
    assert Space((4, 5), 3).shape == (3, 4, 5) and Space((4, 5), 3).cells == 60 and Space((), 2).cells == 2
    assert Roads() == Roads(None, None, None)


def test_no_likelihood_says_why():
    class Mute(Objective):
        kind: str = "objectives.mute"
        draws = loss = predictor = sampler = lambda self, *_: None

    with pytest.raises(NoLikelihood, match=r"objectives\.mute defines no likelihood"):
        Mute().log_prob({}, batch(), LONG)


class TestAsk:
    """A prompt becomes fields, known cells, or a sentence that says why not."""

    def model(self, prompt, labels=None):
        import toys

        from genus.run import assemble

        phase = toys.text_phase() if labels is None else toys.image_phase(labels)
        return assemble(phase, phase.codec.load(None), prompt)

    def test_prefix(self):
        fields, known = self.model("prefix").ask("hé", 3)
        assert fields == {} and known.x.shape == (3, 1, 3) and known.mask.all()  # no end mark
        assert known.x[2, 0].tolist() == list("hé".encode())

    def test_nothing_asked(self):
        for asked in (None, ""):
            assert self.model("prefix").ask(asked, 2) == ({}, None)

    def test_a_field(self):
        assert self.model("label", (("a", 1), ("b", 1))).ask("a", 2) == ({"label": ["a", "a"]}, None)

    def test_no_prompt_taken(self):
        with pytest.raises(UsageError, match=r"takes no prompt"):
            self.model("none").ask("x", 1)

    def test_a_field_that_the_data_never_had(self):
        with pytest.raises(UsageError, match=r"no label"):
            self.model("label", ()).ask("a", 1)

    def test_a_value_that_the_data_never_had(self):
        model = self.model("label", (("ant", 1), ("bee", 1)))
        fields, _ = model.ask("cow", 1)
        with pytest.raises(UsageError, match=r"'cow' is not a label.*ant, bee"):
            model.generate(LONG.part(0, 1), fields)

    def test_an_unknown_knob(self):
        with pytest.raises(UsageError, match=r"no 'stepz'; it has: .*temperature"):
            self.model("prefix").generate(LONG.part(0, 1), stepz=3)

    def test_generating_leaves_training_mode(self):
        model = self.model("label", (("a", 1), ("b", 1)))
        model.nets.train()
        one = model.generate(Noise(0, (5,)), steps=2)
        assert not model.nets.training
        assert (one[0] == model.generate(Noise(0, (4, 5, 6)), steps=2)[1]).all()
