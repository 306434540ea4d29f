"""A run of few bits: made, judged, saved, drawn from like any other, refused where it lost too much."""

import json
import shutil

import pytest
import torch
import toys
from safetensors.torch import load_file

from genus.deploy import compress
from genus.deploy.release import admit
from genus.errors import GenusError, UsageError
from genus.exchange import give
from genus.networks.decoder import DecoderConfig
from genus.networks.packed import PackedLinear
from genus.run import Run
from genus.train.budget import budget
from genus.train.stage import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("compression")
    net = DecoderConfig(depth=2, width=64, head=32, heads=2, kv_heads=1, hidden=96)
    phase = toys.text_phase().but(nets={"net": net})
    made = train(toys.recipe(phase), toys.dataset(place / "texts", n=120), place / "runs" / "base", budget("60 steps"))
    (made.path / "deployed.json").write_text("{}")
    return made


def test_a_run_of_few_bits(run):
    home = run.path.parents[1]
    made = compress(run, 4, home=home, windows=12)
    small = Run(made.run)
    assert small.name == "base-int4" and made.bytes < 0.3 * made.bytes_before and not made.reasons
    weights = load_file(small.path / "model.safetensors")
    assert weights["net.blocks.0.qkv.w"].dtype == torch.uint8
    assert isinstance(small.model().nets["net"].blocks[0].qkv, PackedLinear)
    report = json.loads((small.path / "report.json").read_text())
    change = next(row for row in report["metrics"] if row["name"] == "perplexity_change")
    assert change["low"] < change["value"] < change["high"] and change["value"] == pytest.approx(made.change.value)
    measured = [sum(r.score([t])[0] for t in TEXTS) for r in (run, small)]
    assert abs(measured[1] / measured[0] - 1) < 0.05
    admit(small)
    assert small.generate("the ", n=3, tokens=8, seed=1)[2:] == [
        small.model().generate(noise, *small.model().ask("the ", 1), tokens=8)[0] for noise in [third()]
    ]
    assert small.generate("the ", precision="int4", tokens=8) == small.generate("the ", tokens=8)
    with pytest.raises(UsageError, match="there is a run 'base-int4' already"):
        compress(run, 4, home=home)
    with pytest.raises(UsageError, match="has weights of 4 bits already; export the run base"):
        give(small, "hf")


def test_a_run_that_was_made_elsewhere(run, tmp_path):
    base = tmp_path / "runs" / "published"
    shutil.copytree(run.path, base)
    data = {"path": None, "version": None, "digest": None, "medium": "text", "licences": {"mit": None}}
    (base / "data.json").write_text(json.dumps({**data, "origin": {"name": "Tiny 1", "files": {"a.gguf": "0f"}}}))
    text = tmp_path / "text.txt"
    text.write_text(" ".join(TEXTS * 60))
    with pytest.raises(UsageError, match="was not trained here; give texts"):
        compress(Run(base), 8, home=tmp_path)
    made = compress(Run(base), 8, home=tmp_path, texts=[text], windows=4)
    page = (made.run / "report.html").read_text()
    assert "Tiny 1" in page and "mit" in page and "None" not in page.split("Licences")[0].split("Weights")[-1]
    assert "None" not in (made.run / "card.md").read_text() and "Tiny 1" in (made.run / "card.md").read_text()


def test_a_run_without_a_report_is_none(run, monkeypatch):
    home = run.path.parents[1]
    monkeypatch.setattr("genus.deploy.compression.publish", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compress(run, 8, "half-made", home, windows=4)
    assert not (home / "runs" / "half-made").exists()


TEXTS = ["the cat sat on a mat", "one red ball of wool"]


def third():
    from genus.core import Noise

    return Noise(1, (2,))


def test_one_that_lost_too_much_is_not_deployed(run, tmp_path, monkeypatch):
    monkeypatch.setattr("genus.deploy.compression.WORSE", {4: -50.0})
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on a mat and saw one red ball of wool. " * 40)
    made = compress(run, 4, "bad", tmp_path, [text], "nearest", 4)
    assert "more than -50 %" in made.reasons[0] and not (made.run / "deployed.json").exists()
    with pytest.raises(GenusError, match="not fit to be deployed: perplexity"):
        admit(Run(made.run))


def test_what_cannot_be_compressed_says_so(run, tmp_path):
    for asked, said in (
        ({"bits": 3}, "--bits 3; choose one of 8, 4"),
        ({"way": "best"}, "choose one of nearest, awq, gptq, both"),
        ({"name": "../x"}, "is no name of a run"),
        ({"texts": [tmp_path / "no.txt"]}, "cannot be read as text"),
    ):
        with pytest.raises(UsageError, match=said):
            compress(run, home=tmp_path, **asked)
