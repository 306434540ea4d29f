"""Contrastive decoding: the difference to a weaker model, where the model itself finds an id likely; cached or not."""

import math

import pytest
import torch
import toys
from fastapi.testclient import TestClient

from genus.core import Cond, Noise
from genus.deploy import app, generate, reproduce
from genus.learned.contrast import Contrast, Contrasted
from genus.samplers.tokens import Tokens
from genus.train.budget import budget
from genus.train.stage import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("contrast")
    data = toys.dataset(place / "texts", n=80)
    made = {}
    for name, steps in (("strong", "60 steps"), ("weak", "8 steps")):
        made[name] = train(toys.recipe(toys.text_phase()), data, place / "runs" / name, budget(steps))
    return made


def test_logits_are_the_difference_where_the_model_finds_an_id_likely(runs):
    strong, weak = (runs[name].model() for name in ("strong", "weak"))
    x = torch.randint(0, strong.space.vocab, (2, 1, 9))
    p, r = (m.predictor()[0](x).log_softmax(-1) for m in (strong, weak))
    said = Contrast(place=str(runs["weak"].path), strength=0.7, keep=0.2)(strong.predictor()[0], None)(x)
    likely = p >= p.amax(-1, keepdim=True) + math.log(0.2)
    torch.testing.assert_close(said[likely], (p + 0.7 * (p - r))[likely])
    assert (said[~likely] == -math.inf).all() and likely.any(-1).all()
    assert Contrast()(strong.predictor()[0], None) is strong.predictor()[0]


def test_cached_equals_uncached_and_samples_stand_alone(runs):
    strong, weak = (runs[name].model() for name in ("strong", "weak"))
    both = Contrasted(Contrast(place="x"), strong.predictor()[0], weak.predictor()[0])

    class Anew:
        def __call__(self, x, t=None, cond=Cond(), state=None):
            return both(x, t, cond)

        def start(self, batch, cells):
            return None

    draw = Tokens(tokens=12)
    with torch.no_grad():
        x = draw(both, strong.space, Cond(), Noise(1, tuple(range(8))))
        assert torch.equal(draw(Anew(), strong.space, Cond(), Noise(1, tuple(range(8)))), x)
        alone = draw(both, strong.space, Cond(), Noise(1, (5,)))
    assert torch.equal(alone[0, :, :12], x[5, :, : alone.shape[2]])


def test_from_the_command_to_a_file_and_again(runs, tmp_path):
    knobs = {"tokens": 8, "amateur": str(runs["weak"].path), "contrast": 0.8, "temperature": 0.0}
    made = generate(runs["strong"], "the ", 1, 0, tmp_path, knobs)
    assert reproduce(made.files[0]).same
    told = generate(runs["strong"], "the ", 2, 0, None, {"tokens": 5, "likeliest": 2, "beams": 3})
    assert (len(told.said) == 2 and told.said[0]["sum"] >= told.said[1]["sum"] - 1e-6) or told.said
    assert all(len(cell["best"]) == 2 for cell in told.said[0]["tokens"])


def test_the_server_tells_all_texts_apart_from_a_weaker_run(runs):
    with TestClient(app([runs["strong"]], amateur=runs["weak"]), base_url="http://127.0.0.1") as client:

        def said(**more):
            asked = {"model": "strong", "prompt": "the ", "max_tokens": 12, "n": 3, "seed": 5, **more}
            return [choice["text"] for choice in client.post("/v1/completions", json=asked).json()["choices"]]

        def drawn(**knobs):
            texts = generate(runs["strong"], "the ", 3, 5, None, {"tokens": 12, **knobs}).items
            return [text.removeprefix("the ") for text in texts]

        weak = str(runs["weak"].path)
        assert said() == drawn(amateur=weak) != drawn()
        assert said(contrast=2.0) == drawn(amateur=weak, contrast=2.0)
        assert said(contrast=0) == drawn()
