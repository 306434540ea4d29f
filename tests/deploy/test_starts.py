"""Pictures that start from a picture: parts kept, drafts followed, manifests that say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toys

from genus import files
from genus.deploy import Between, Start, Sum, generate, reproduce
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
    with pytest.raises(UsageError, match="is a folder"):
        generate(digits, None, 1, 0, None, {}, start=Start(tmp_path))
    wide = picture(tmp_path / "wide.png", 0, (8, 12, 1))
    with pytest.raises(UsageError, match=r"wide\.png is 12 x 8 and .*grey\.png is 8 x 8; a mask has"):
        generate(digits, None, 1, 0, None, {}, start=Start(grey, wide))
    with pytest.raises(UsageError, match=r"strength = 2"):
        generate(digits, None, 1, 0, None, {"strength": 2.0}, start=Start(grey))


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
    with pytest.raises(UsageError, match="tokens draws x from no latent"):
        generate(tales, None, 3, 0, None, {}, start=Between(1, 2, 3))
    with pytest.raises(UsageError, match="two ends"):
        digits.between(*toys.pictures(2), n=1)
    with pytest.raises(UsageError, match="were given"):
        digits.generate(n=2, latents=digits.invert(toys.pictures(1)))


@pytest.fixture
def ends(tmp_path: Path) -> list[Path]:
    found = []
    for i, content in enumerate(toys.pictures(3)):
        found.append(tmp_path / f"{i}.png")
        found[-1].write_bytes(image.write(content))
    return found


def test_a_way_as_files_is_made_again(digits: Run, ends: list[Path], tmp_path: Path) -> None:
    knobs = {"steps": 6}
    made = generate(digits, None, 4, 0, tmp_path / "way", knobs, start=Between(ends[0], ends[1], 4))
    way = digits.between(*toys.pictures(2), n=4, **knobs)
    off = [np.abs(image.read(p.read_bytes()).astype(int) - w) for p, w in zip(made.files, way, strict=True)]
    assert max(o.max() for o in off) <= 2
    assert all(reproduce(path).same for path in made.files)
    said = manifest.read(made.files[2]).start
    assert said is not None and said["last_sha256"] == files.sha256(ends[1]) and said["of"] == "4"
    ends[1].unlink()
    with pytest.raises(GenusError, match=r"1\.png, from which this was made, is gone"):
        reproduce(made.files[2])


def test_a_way_between_seeds_ends_in_their_samples(digits: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has a label of its own; give one as the prompt"):
        generate(digits, None, 3, 0, None, {"steps": 3}, start=Between(3, 5, 3))
    made = generate(digits, "dark", 3, 0, tmp_path / "way", {"steps": 3}, start=Between(3, 5, 3))
    for path, seed in ((made.files[0], 3), (made.files[2], 5)):
        (own,) = digits.generate("dark", seed=seed, steps=3)
        assert np.abs(image.read(path.read_bytes()).astype(int) - own).max() <= 2
    assert reproduce(made.files[1]).same
    assert manifest.read(made.files[1]).start == {"first": "seed:3", "last": "seed:5", "of": "3"}


def test_a_sum_of_pictures(digits: Run, ends: list[Path], tmp_path: Path) -> None:
    a, b, c = ends
    knobs = {"steps": 6}
    (alone,) = generate(digits, None, 1, 0, tmp_path / "a", knobs, start=Sum(a, (), (), 1)).files
    (back,) = generate(digits, None, 1, 0, tmp_path / "b", knobs, start=Sum(a, (b,), (b,), 1)).files
    read = {path: image.read(path.read_bytes()).astype(int) for path in (alone, back)}
    assert np.abs(read[alone] - read[back]).max() <= 2
    made = generate(digits, None, 3, 0, tmp_path / "c", knobs, start=Sum(a, (b, c), (c,), 3)).files
    assert np.abs(image.read(made[0].read_bytes()).astype(int) - read[alone]).max() <= 2
    assert np.abs(image.read(made[2].read_bytes()).astype(int) - read[alone]).mean() > 2
    assert all(reproduce(path).same for path in made)
    said = manifest.read(made[1]).start
    assert said is not None and said["plus-1_sha256"] == files.sha256(c) == said["minus-0_sha256"]
