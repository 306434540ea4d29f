"""Pictures that start from a picture: parts kept, drafts followed, manifests that say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toys

from genus import files
from genus.deploy import Start, generate, reproduce
from genus.errors import GenusError, UsageError
from genus.media import image
from genus.provenance import manifest
from genus.run import Run


def picture(path: Path, value: int, shape: tuple[int, int, int] = (8, 8, 1)) -> Path:
    path.write_bytes(image.write(np.full(shape, value, np.uint8)))
    return path


def test_a_picture_is_drawn_anew_where_the_mask_is_white(digits: Run, tmp_path: Path) -> None:
    half = np.zeros((8, 8, 1), np.uint8)
    half[:, 4:] = 255
    (tmp_path / "mask.png").write_bytes(image.write(half))
    start = Start(picture(tmp_path / "grey.png", 100), tmp_path / "mask.png")
    made = generate(digits, None, 2, 0, tmp_path / "out", {"steps": 3}, start=start)
    for path in made.files:
        now = image.read(path.read_bytes())
        assert (now[:, :4] == 100).all()
        assert (now[:, 4:] != 100).mean() > 0.5
        assert reproduce(path).same
    said = manifest.read(made.files[0]).start
    assert said is not None and said["mask_sha256"] == files.sha256(tmp_path / "mask.png")
    picture(tmp_path / "grey.png", 101)
    with pytest.raises(GenusError, match=r"grey\.png, from which this was made, is gone or has changed"):
        reproduce(made.files[0])


def test_a_draft_is_followed_as_far_as_the_strength_says(digits: Run, tmp_path: Path) -> None:
    start = Start(picture(tmp_path / "grey.png", 100))
    far = []
    for strength in (0.05, 0.5, 1.0):
        knobs = {"steps": 4, "strength": strength}
        (path,) = generate(digits, None, 1, 0, tmp_path / f"s{strength * 100:.0f}", knobs, start=start).files
        far.append(float(np.abs(image.read(path.read_bytes()).astype(float) - 100).mean()))
    assert far == sorted(far) and far[0] < 30


def test_what_cannot_be_started_from(digits: Run, tales: Run, tmp_path: Path) -> None:
    grey = picture(tmp_path / "grey.png", 100)
    with pytest.raises(UsageError, match="starts from a prompt"):
        generate(tales, None, 1, 0, None, {}, start=Start(grey))
    with pytest.raises(UsageError, match="is no file"):
        generate(digits, None, 1, 0, None, {}, start=Start(tmp_path / "none.png"))
    (tmp_path / "half.png").write_bytes(grey.read_bytes()[:40])
    with pytest.raises(UsageError, match="cannot be read"):
        generate(digits, None, 1, 0, None, {}, start=Start(tmp_path / "half.png"))


def test_a_way_between_two_pictures(digits: Run) -> None:
    ends = toys.pictures(2)
    way = digits.between(ends[0], ends[1], 5, steps=60, method="heun")
    far = [[float(np.abs(w.astype(float) - end).mean()) for w in way] for end in ends]
    assert far[0][0] < 0.5 * far[0][4] and far[1][4] < 0.5 * far[1][0]  # hardly trained, it finds back roughly
    assert far[0][0] < far[0][2] < far[0][4] and far[1][4] < far[1][2] < far[1][0]
    z = digits.invert(ends)
    assert np.array_equal(digits.generate(n=2, latents=z)[1], digits.generate(n=1, latents=z[1:])[0])


def test_what_has_no_latent(tales: Run, digits: Run) -> None:
    with pytest.raises(UsageError, match="from no latent"):
        tales.invert(["Gr"])
    with pytest.raises(UsageError, match="two ends"):
        digits.between(*toys.pictures(2), n=1)
    with pytest.raises(UsageError, match="were given"):
        digits.generate(n=2, latents=digits.invert(toys.pictures(1)))
