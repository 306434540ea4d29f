"""Files scored as the library scores them, in the units that are said; what cannot be read is named."""

import json
import math

import numpy as np
import pytest
import toys
from typer.testing import CliRunner

from genus.cli import app
from genus.deploy import score
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
    assert [item["nats"] for item in found.items] == pytest.approx(
        digits.score([image.read(p.read_bytes()) for p in pictures])
    )
    assert "bound" in found.says and like["error"] is None
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
