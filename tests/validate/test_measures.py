"""Each measure against a model whose fault, or virtue, is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from validate_toys import Silent, Uniform, drawing, picture_subject, prose, text_subject

from genus.codecs.bpe import BpeConfig
from genus.compare import rows
from genus.core import Cond, LogProb, Model, Network, Space
from genus.objectives.flow import Flow
from genus.validate.fidelity import Fidelity, gaussian
from genus.validate.gate import Gate
from genus.validate.likelihood import Likelihood, tokens
from genus.validate.memorisation import Nearest, Verbatim
from genus.validate.samples import Samples

TRAIN = [prose(i) for i in range(200)]
TEST = [prose(1000 + i) for i in range(20)]
DRAWN = [drawing(i) for i in range(300)]
HELD = [drawing(10_000 + i) for i in range(40)]


def scribble(seed: int) -> str:
    """Text that nobody writes twice."""
    return bytes(np.random.default_rng(seed).integers(97, 123, 200 + seed, dtype=np.uint8)).decode()


def named(findings):
    return {f.name: f for f in findings}


def test_a_uniform_model_needs_the_logarithm_of_its_vocabulary():
    subject = text_subject(lambda i: "", TRAIN, TEST, objective=Uniform(257))
    result = Likelihood(primed=1000)(subject)
    size = sum(len(t) for t in TEST)
    found, base = named(result.metrics), named(result.baselines)
    assert found["bits_per_byte"].value == pytest.approx((size + len(TEST)) / size * math.log2(257))
    assert found["bits_per_byte"].low < found["bits_per_byte"].value < found["bits_per_byte"].high
    assert list(base) == [f"bits_per_byte/{n}" for n in ("ngram5", "gzip", "xz", "xz_primed")]
    # The words follow each other with 2 bits a word of 5 letters and a space: counting bytes finds most of that.
    assert base["bits_per_byte/ngram5"].value < 1.0
    assert base["bits_per_byte/xz_primed"].value < base["bits_per_byte/xz"].value
    assert Gate()(result.metrics, result.baselines)


def test_the_interval_of_one_document_is_over_its_windows():
    class Uneven:
        """Every other window costs twice as much."""

        def log_prob(self, nets, batch, noise):
            said = Uniform(257).log_prob(nets, batch, noise)
            return LogProb(said.nats * torch.tensor([1.0 + i % 2 for i in noise.samples]), exact=True)

    one = text_subject(lambda i: "", TRAIN[:2], [prose(9, 2000)], objective=Uneven())
    found = Likelihood()(one)
    bits = found.metrics[0]
    assert math.log2(257) < bits.low < bits.value < bits.high < 2 * math.log2(257)
    assert any("over its windows" in note for note in found.notes)


def test_bytes_count_and_not_characters():
    subject = text_subject(lambda i: "", ["äöü" * 30], ["äöü" * 30, "€uro" * 10], objective=Uniform(257))
    result = Likelihood()(subject)
    found = named(result.metrics)["bits_per_byte"]
    assert found.value == pytest.approx((180 + 60 + 2) / 240 * math.log2(257))
    assert "240 bytes, 1.00 a token." in result.notes[0]


def test_bytes_a_token_are_those_of_the_tokenizer():
    texts = ["the cat sat on the mat and the cat ran " * 20] * 2
    pairs = BpeConfig(vocab=320).fit(lambda: iter(texts))
    number = tokens(pairs, text_subject(str, texts, texts).held_out(9))
    assert number == sum(len(pairs.encode([text])[0][0]) - 1 for text in texts)
    assert 3 < 2 * len(texts[0]) / number < len(texts[0])


def test_only_so_much_held_out_text_is_scored():
    result = Likelihood(held=1500)(text_subject(lambda i: "", TRAIN, TEST))
    sizes = np.cumsum([len(t) for t in TEST])
    assert f"on {(sizes <= 1500).sum()} held-out documents" in result.notes[0]


def test_no_likelihood_is_said_in_words():
    result = Likelihood()(text_subject(lambda i: "", TRAIN, TEST, objective=Silent()))
    assert result.metrics == ()
    assert "toys only draw" in result.notes[0]


def test_a_model_that_recites_trips_the_gate_and_one_that_writes_does_not():
    train = [scribble(i) for i in range(40)]
    recites = text_subject(lambda i: train[i], train, [scribble(100)])
    writes = text_subject(lambda i: scribble(200 + i), train, [scribble(100)])
    for subject, caught in ((recites, True), (writes, False)):
        result = Verbatim(samples=20)(subject)
        said = " ".join(Gate()._copies(named(result.metrics)["copies"], named(result.baselines)["copies/held_out"]))
        assert ("copy training items" in said) is caught
    found = named(Verbatim(samples=20)(recites).metrics)
    assert found["copies"].value == 1.0
    assert found["longest_copy"].value == max(len(t) for t in train[:20])
    figure = Verbatim(samples=20)(recites).figures[0]
    assert "<mark>" in figure.html
    assert "train/" in figure.html


def test_held_out_items_are_cut_as_short_as_the_samples():
    shared = "the licence that every file begins with, word for word, of this length. "
    train, test = [shared + t for t in TRAIN], [shared + t for t in TEST]
    result = Verbatim(samples=20)(text_subject(lambda i: test[i][: 40 + i], train, test))
    assert named(result.baselines)["copies/held_out"].value == pytest.approx(
        named(result.metrics)["copies"].value, abs=0.2
    )


def test_pictures_that_are_copies_trip_the_gate_even_when_dimmed():
    dimmed = picture_subject(lambda i: (DRAWN[i] * 0.97).astype(np.uint8), DRAWN, HELD, most=40)
    fresh = picture_subject(lambda i: drawing(20_000 + i), DRAWN, HELD, most=40)
    for subject, caught in ((dimmed, True), (fresh, False)):
        result = Nearest(samples=40, shown=0)(subject)
        own, base = named(result.metrics)["copies"], named(result.baselines)["copies/held_out"]
        assert bool(Gate()._copies(own, base)) is caught, own
        assert base.value <= 0.05
    assert Nearest(samples=40, shown=1)(dimmed).figures[0].html.count("<img") == 6


class Remembered(Network):
    """The denoiser that fits its training items perfectly: at every level their mean, weighed by how likely each is."""

    def __init__(self, items):
        super().__init__()
        self.items = items  # [n, C, H, W] in -1 .. 1
        self.space = Space(tuple(items.shape[2:]), items.shape[1], grain=2 / 255)

    def forward(self, x, t=None, cond=Cond(), state=None):
        s = t[:, None]
        far = (x.flatten(1)[:, None] - (1 - s[:, :, None]) * self.items.flatten(1)).square().sum(2)  # [B, n]
        return (torch.softmax(-far / (2 * s.square()), 1) @ self.items.flatten(1)).view_as(x)


def test_an_overfitted_model_trips_memorisation_and_its_column():
    subject = picture_subject(drawing, DRAWN, HELD, most=30)
    codec, objective = subject.model.codec, Flow(output="x")
    nets = torch.nn.ModuleDict({"net": Remembered(codec.lift(torch.stack(codec.encode(DRAWN))))})
    model = Model(codec, codec.space, nets, objective, objective.sampler())
    result = Nearest(samples=30, shown=0)(replace(subject, model=model))
    own, base = named(result.metrics)["copies"], named(result.baselines)["copies/held_out"]
    assert own.value > 0.9 and base.value <= 0.05 and Gate()._copies(own, base)
    run = {"seed": 0, "run": "r", "makes": "8 x 8", "notes": [], "metrics": [f.json() for f in result.metrics]}
    run |= {"gate": {"passed": False, "reasons": ["it copies"]}, "cost": {}}
    run["drawing"] = {"ladder": [], "reasons": {}}
    row = rows.row({"recipe": "flow", "family": "flow", "about": ""}, [run], {}, 1)
    assert row["memorised"]["value"] == own.value and row["memorised"]["better"] == "lower"


def test_fidelity_puts_a_good_model_near_real_and_noise_at_the_gaussian():
    good = Fidelity()(picture_subject(lambda i: drawing(20_000 + i), DRAWN, HELD, most=40))
    noise = gaussian(DRAWN, 40, seed=7)
    bad = Fidelity()(picture_subject(lambda i: noise[i], DRAWN, HELD, most=40))
    same = Fidelity()(picture_subject(lambda i: DRAWN[3], DRAWN, HELD, most=40))
    well, ill, stuck = (named(r.metrics) for r in (good, bad, same))
    assert well["gap_closed"].value > 0.8
    assert well["gap_closed"].low <= well["gap_closed"].value <= well["gap_closed"].high
    assert abs(ill["gap_closed"].value) < 0.2
    assert well["coverage"].value > 0.7
    assert stuck["coverage"].value < 0.3
    assert stuck["recall"].value < 0.1
    assert well["kernel_efficientnet_lite0"].value < 0.2 * ill["kernel_efficientnet_lite0"].value
    assert named(good.baselines)["frechet_efficientnet_lite0/real"].value < (
        0.5 * named(good.baselines)["frechet_efficientnet_lite0/gaussian"].value
    )
    assert Gate()(good.metrics, good.baselines) == ()


def test_too_few_pictures_are_a_note_and_not_a_number():
    result = Fidelity()(picture_subject(drawing, DRAWN[:5], HELD[:5]))
    assert result.metrics == ()
    assert "too few" in result.notes[0]


def test_samples_show_what_was_made_and_escape_it():
    html = Samples(texts=2)(text_subject(lambda i: f"<script>{i}</script>", TRAIN, TEST)).figures[0].html
    assert "<script>" not in html
    assert html.count("<pre>") == 2
    assert len(Samples(pictures=3)(picture_subject(drawing, DRAWN, HELD)).figures) == 2
