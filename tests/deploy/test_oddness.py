"""Odd items told from usual ones; where likelihood fails at it, that is said."""

import json
import math

import numpy as np
import pytest
import toys
from typer.testing import CliRunner

from genus import files
from genus.cli import app
from genus.deploy import anomalies
from genus.deploy.oddness import Told, atypical, compared, failure, squeezed
from genus.errors import NoLikelihood, UsageError
from genus.media import image
from genus.networks.autoencoder import AutoencoderConfig
from genus.networks.bottlenecks import RoundedConfig
from genus.objectives.autoencoding import Autoencoding
from genus.train.budget import budget
from genus.train.stage import train


def noise(n, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 1)).astype(np.uint8))


def written(folder, pictures):
    folder.mkdir()
    for i, picture in enumerate(pictures):
        (folder / f"{i}.png").write_bytes(image.write(picture))
    return folder


def test_noise_is_odd_and_the_likelihood_says_so(digits, tmp_path):
    found = anomalies(digits, [written(tmp_path / "odd", noise(4))], n=3)
    assert set(found.told) == {"likelihood", "typicality", "complexity"}
    assert found.told["likelihood"].value == 1.0 and found.told["typicality"].value == 1.0
    assert [item["odder_than"]["likelihood"] for item in found.items()] == [1.0] * 4
    assert [item["file"] for item in found.items()] == [str(tmp_path / "odd" / f"{i}.png") for i in range(4)]
    assert not any("fails" in line for line in found.says) and any("lower bound" in line for line in found.says)
    said = json.loads(json.dumps(found.json()))
    assert said["usual"]["items"] == 3 and set(said["auroc"]["likelihood"]) == {"value", "low", "high"}


def test_simple_items_are_likelier_and_that_is_said(digits):
    """The failure, planted: what the model knows is called odd, beside noise as the usual."""
    found = compared(digits, noise(5), toys.pictures(5))
    assert found.told["likelihood"].value == 0.0
    line = found.says[0]
    assert "likelihood fails: the model finds these items likelier" in line and "1810.09136" in line
    assert "0.000 [0.000, 0.000]" in line


def test_the_sentence_names_what_works():
    sure, unsure = Told(0.1, 0.05, 0.2), Told(0.4, 0.3, 0.6)
    assert failure({"likelihood": Told(0.5, 0.4, 0.6), "typicality": Told(0.1, 0, 1)}) == ()
    (line,) = failure({"likelihood": sure, "typicality": Told(0.9, 0.8, 1.0), "complexity": Told(0.6, 0.5, 0.7)})
    assert "model finds" in line and line.endswith("here typicality tells them apart best, 0.900 [0.800, 1.000]")
    (line,) = failure({"likelihood": unsure, "typicality": Told(0.5, 0.4, 0.6)})
    assert "seems to find" in line and line.endswith("no other score tells them apart either")


def test_typicality_leaves_an_item_out_of_its_own_mean():
    assert atypical(np.array([1.0, 2.0, 6.0, 3.0, 0.0]), 3).tolist() == [3.0, 1.5, 4.5, 0.0, 3.0]
    assert atypical(np.array([1.0, 3.0]), 1).tolist() == [0.0, 2.0]


def test_complexity_is_less_for_plain_items(digits, tales):
    plain, busy = squeezed(digits, [np.full((8, 8, 1), 9, np.uint8), *noise(1)])
    assert plain < busy and busy >= 8 * 64
    a, b = squeezed(tales, ["la " * 100, "".join(map(chr, np.random.default_rng(0).integers(33, 126, 300)))])
    assert a < 200 and 8 * 200 < b <= 8 * 300


def test_texts(tmp_path):
    recipe = toys.recipe(toys.text_phase())
    run = train(recipe, toys.dataset(tmp_path / "data", "text", 60), tmp_path / "run", budget("40 steps"))
    usual, odd = tmp_path / "usual", tmp_path / "odd"
    for folder, texts in ((usual, toys.texts(6, seed=3)), (odd, [text.upper()[::-1] for text in toys.texts(4)])):
        folder.mkdir()
        for i, text in enumerate(texts):
            (folder / f"{i}.txt").write_text(text)
    found = anomalies(run, [odd], [usual])
    assert found.per == "bits/byte" and set(found.told) == {"likelihood", "typicality", "complexity"}
    assert found.told["likelihood"].value == 1.0 and any("likelihood: exact" in line for line in found.says)
    told = CliRunner().invoke(app, ["anomalies", str(run.path), str(odd), "--normal", str(usual)])
    assert told.exit_code == 0 and "AUROC" in told.stdout and "likelihood: exact" in told.stdout


def test_an_autoencoder_without_likelihood_rebuilds(tmp_path):
    net = AutoencoderConfig(widths=(8, 16), blocks=1, bottleneck=RoundedConfig(levels=(5, 5)))
    phase = toys.image_phase().but(nets={"net": net}, objective=Autoencoding(), conditioner=None)
    recipe = toys.recipe(phase, prompt="none")
    run = train(recipe, toys.dataset(tmp_path / "data", "image", 60), tmp_path / "run", budget("60 steps"))
    found = compared(run, toys.pictures(6, seed=5), noise(6))
    assert set(found.told) == {"reconstruction"} and found.told["reconstruction"].value == 1.0
    assert any("no likelihood: " in line and "discrete codes" in line for line in found.says)


def test_what_cannot_be_judged(shapes, digits, tmp_path):
    odd = written(tmp_path / "odd", noise(2))
    with pytest.raises(NoLikelihood, match=r"defines no likelihood.*nor has it an autoencoder"):
        anomalies(shapes, [odd], [odd])
    with pytest.raises(UsageError, match="name usual items with --normal"):
        anomalies(shapes, [odd])
    with pytest.raises(UsageError, match="n = 0"):
        anomalies(digits, [odd], n=0)
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="holds no image"):
        anomalies(digits, [tmp_path / "none"])


def test_one_file_has_no_interval(digits, tmp_path):
    found = anomalies(digits, [written(tmp_path / "odd", noise(1)) / "0.png"], n=3)
    assert found.json()["auroc"]["likelihood"] == {"value": 1.0, "low": None, "high": None}
    assert math.isnan(found.told["likelihood"].low) and str(found.told["likelihood"]) == "1.000"
    assert files.read_json(digits.path / "data.json")["items"]
