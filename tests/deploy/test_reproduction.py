from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from genus import files
from genus.deploy import generate, reproduce
from genus.errors import GenusError, UsageError
from genus.media import image
from genus.provenance import manifest
from genus.run import Run


def test_what_was_made_can_be_made_again(tales: Run, pets: Run, tmp_path: Path) -> None:
    texts = generate(tales, "Gr", 3, 7, tmp_path, {"tokens": 20, "temperature": 0.8}).files
    pictures = generate(pets, "dog", 3, 7, tmp_path, {"steps": 3}).files
    for path in (texts[2], pictures[2]):
        again = reproduce(path)
        assert (again.same, again.how, again.difference) == (True, "identical", "")
        said = json.loads(json.dumps(again.json()))
        assert said["manifest"]["index"] == 2
        assert said["same"] is True


def test_the_number_format_is_part_of_the_address(digits: Run, tmp_path: Path) -> None:
    plain = generate(digits, "dark", 2, 7, tmp_path, {"steps": 4}).files
    half = generate(digits, "dark", 2, 7, tmp_path, {"steps": 4, "precision": "bf16"}).files
    assert plain[1].read_bytes() != half[1].read_bytes()
    assert manifest.read(half[1]).knobs == {"steps": 4, "precision": "bf16"}
    assert [reproduce(path).how for path in (plain[1], half[1])] == ["identical", "identical"]


@pytest.mark.parametrize("brisk", [False, True])
def test_what_the_processor_chose_is_noted(
    tales: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brisk: bool
) -> None:
    model = tales.model()
    monkeypatch.setattr(type(model.nets["net"]), "brisk", property(lambda net: brisk))
    monkeypatch.setattr(Run, "model", lambda run: replace(model, drawn="bf16"))
    path = generate(tales, "Gr", 1, 7, tmp_path, {"tokens": 20}).files[0]
    assert manifest.read(path).knobs == {"tokens": 20, "precision": "bf16" if brisk else "fp32"}
    monkeypatch.setattr(type(model.nets["net"]), "brisk", property(lambda net: not brisk))  # on another one
    assert reproduce(path).how == "identical"


@pytest.mark.parametrize("level", [1, 100])
def test_one_pixel_is_told(shapes: Run, level: int) -> None:
    path = generate(shapes, None, 2, 0, None, {}).files[1]
    pixels = image.read(path.read_bytes()).copy()
    pixels[2, 3, 1] = int(pixels[2, 3, 1]) + (level if pixels[2, 3, 1] < 120 else -level)
    path.write_bytes(image.write(pixels))
    again = reproduce(path)
    assert (again.same, again.how) == (False, "different")
    assert f"1 of 48 pixels, by at most {level} of 255" in again.difference
    assert "changed after it was made" in again.difference


def test_one_character_is_told(tales: Run, tmp_path: Path) -> None:
    path = generate(tales, "Grüße ", 1, 3, tmp_path, {"tokens": 30}).files[0]
    said = path.read_text()
    path.write_text(said[:4] + "X" + said[5:])
    assert f"1 of {len(said)} characters, the first at 4" in reproduce(path).difference
    path.write_text(said[:4] + "an insertion" + said[4:])
    assert f"12 of {len(said)} characters, the first at 4" in reproduce(path).difference
    path.write_bytes(said.encode("utf-16"))
    again = reproduce(path)
    assert not again.same
    assert "stored as other bytes" in again.difference
    path.write_bytes(b"\xff\x00\x81")
    assert not reproduce(path).same


def test_rounding_is_told_from_change(shapes: Run, tmp_path: Path) -> None:
    # A pixel that moves with the batch: alone it is another picture, in its batch the same.
    path = generate(shapes, None, 3, 0, tmp_path, {"jitter": 0.6}).files[1]
    assert reproduce(path).how == "identical"
    # The batch is lost: within rounding, but only while the file is as it was written.
    data = files.read_json(manifest.sidecar(path))
    files.write_json(manifest.sidecar(path), {**data, "batch": [1]})
    again = reproduce(path)
    assert (again.same, again.how) == (True, "equal within rounding")
    assert "by at most" in again.difference
    pixels = image.read(path.read_bytes()).copy()
    pixels[0, 0, 0] ^= 1
    path.write_bytes(image.write(pixels))
    assert reproduce(path).how == "different"


def test_more_than_rounding_is_different(shapes: Run, tmp_path: Path) -> None:
    path = generate(shapes, None, 3, 0, tmp_path, {"jitter": 4.0}).files[1]
    data = files.read_json(manifest.sidecar(path))
    files.write_json(manifest.sidecar(path), {**data, "batch": [1]})
    again = reproduce(path)
    assert (again.same, again.how) == (False, "different")
    assert "changed" not in again.difference


def test_another_encoder_is_no_change(shapes: Run) -> None:
    path = generate(shapes, None, 1, 0, None, {}).files[0]
    with Image.open(path) as picture:
        picture.save(path, "PNG", compress_level=0)
    assert files.sha256(path) != manifest.read(path).sha256
    assert reproduce(path).how == "identical"


def test_another_shape_and_damage_are_told(shapes: Run) -> None:
    path = generate(shapes, None, 1, 0, None, {}).files[0]
    path.write_bytes(image.write(np.zeros((5, 8, 3), np.uint8)))
    assert "its shape is 5 x 8 x 3, made again 6 x 8 x 3" in reproduce(path).difference
    path.write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert "damaged" in reproduce(path).difference


def test_weights_that_were_trained_again(shapes: Run) -> None:
    path = generate(shapes, None, 1, 0, None, {}).files[0]
    weights = shapes.path / "model.safetensors"
    save_file({k: v + 1 for k, v in load_file(weights).items()}, weights)
    with pytest.raises(GenusError, match=r"the weights differ.*trained again"):
        reproduce(path)


def test_a_run_that_moved(shapes: Run, tmp_path: Path) -> None:
    path = generate(shapes, None, 1, 0, tmp_path, {}).files[0]
    home = tmp_path / "elsewhere"
    shutil.copytree(shapes.path, home / "runs" / "shapes")
    shutil.rmtree(shapes.path)
    with pytest.raises(UsageError, match="say where it is with --run"):
        reproduce(path)
    assert reproduce(path, home=home).same
    assert reproduce(path, run=home / "runs" / "shapes").same


def test_nothing_to_compare(tales: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        reproduce(tmp_path / "no.txt")
    (tmp_path / "no.txt").write_text("by hand")
    with pytest.raises(UsageError, match="has no manifest"):
        reproduce(tmp_path / "no.txt")


def test_it_leaves_torch_as_it_was(shapes: Run) -> None:
    path = generate(shapes, None, 1, 0, None, {}).files[0]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    reproduce(path)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.is_grad_enabled()
