"""Files scored as the library scores them, in the units that are said; what cannot be read is named."""

import json
import math
import re

import numpy as np
import pytest
import torch
import toys
from typer.testing import CliRunner

from genus.cli import app
from genus.core import LogProb
from genus.deploy import score
from genus.deploy.scores import says
from genus.errors import GenusError, UsageError
from genus.media import image


@pytest.fixture
def pictures(tmp_path):
    draw = np.random.default_rng(1)
    made = {"like.png": toys.pictures(3)[2], "noise.png": draw.integers(0, 256, (8, 8, 1)).astype(np.uint8)}
    for name, picture in made.items():
        (tmp_path / name).write_bytes(image.write(picture))
    return [tmp_path / name for name in made]


def test_a_picture_like_the_data_is_likelier_than_noise(digits, pictures):
    found = score(digits, pictures)
    like, noise = found.items
    assert like["bits"] < noise["bits"] - 0.5 and like["per"] == "bits/dimension"
    assert like["bits"] == pytest.approx(-like["nats"] / 64 / math.log(2))
    known = digits.log_prob([image.read(p.read_bytes()) for p in pictures], probes=4)
    assert [item["nats"] for item in found.items] == pytest.approx(known.nats.tolist())
    assert [item["error"] for item in found.items] == pytest.approx(known.error.tolist())
    assert found.kind == "bound" and "lower bound" in found.says and "error is given" in found.says
    one = score(digits, pictures, {"probes": 1})
    assert one.items[0]["error"] is None and "unknown" in one.says
    json.dumps(found.json())


def test_from_the_command_line(digits, pictures):
    said = CliRunner().invoke(app, ["score", str(digits.path), *map(str, pictures), "--json"])
    assert [item["file"] for item in json.loads(said.stdout)["items"]] == [str(p) for p in pictures]
    assert "bits/dimension" in CliRunner().invoke(app, ["score", str(digits.path), str(pictures[0])]).stdout


def test_a_damaged_file_is_named(digits, tmp_path):
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    with pytest.raises(GenusError, match=r"half\.png cannot be read"):
        score(digits, [tmp_path / "half.png"])
    with pytest.raises(UsageError, match=r"none\.png is no file"):
        score(digits, [tmp_path / "none.png"])


def test_a_file_scores_the_same_whatever_is_beside_it(digits, pictures):
    both, alone = score(digits, pictures), score(digits, pictures[1:])
    assert both.items[1]["nats"] == pytest.approx(alone.items[0]["nats"], rel=1e-6)


def test_more_draws_tell_the_error(digits, pictures):
    found = score(digits, pictures, {"probes": 4, "looks": 5})
    assert all(item["error"] > 0 for item in found.items) and "standard error is given" in found.says
    with pytest.raises(UsageError, match="has no 'prob'"):
        score(digits, pictures, {"prob": 4})


def test_what_a_likelihood_is_worth():
    nats = torch.zeros(1)
    for found, kind, said in (
        (LogProb(nats, exact=True), "exact", "exact"),
        (LogProb(nats, False, nats, True), "bound", "lower bound .* standard error is given"),
        (LogProb(nats, False, None, True), "bound", "lower bound .* error is unknown"),
        (LogProb(nats, False, nats), "estimate", "an estimate .* is given"),
    ):
        assert found.kind == kind and re.match(f".*{said}", says(found))


def test_a_folder_gives_the_files_of_the_medium(digits, pictures, tmp_path):
    (tmp_path / "notes.txt").write_text("a text among pictures")
    assert [item["file"] for item in score(digits, [tmp_path]).items] == sorted(map(str, pictures))
