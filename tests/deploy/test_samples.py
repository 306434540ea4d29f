from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genus import files
from genus.deploy import generate
from genus.errors import UsageError
from genus.media import image
from genus.provenance import manifest
from genus.run import Run


def test_text_goes_to_the_caller(tales: Run) -> None:
    made = generate(tales, "Gr", 3, 0, None, {"tokens": 30})
    assert made.files == []
    assert len(set(made.items)) == 3
    assert all(item.startswith("Grü") for item in made.items)
    assert not (tales.path / "samples").exists()
    assert set(json.loads(json.dumps(made.json()))) == {"files", "items"}


def test_a_sample_is_the_same_alone_and_among_others(tales: Run) -> None:
    many = generate(tales, None, 19, 5, None, {"tokens": 24}).items  # three pieces
    assert generate(tales, None, 1, 5, None, {"tokens": 24}, first=13).items == [many[13]]
    assert generate(tales, None, 19, 5, None, {"tokens": 24}).items == many
    assert generate(tales, None, 19, 6, None, {"tokens": 24}).items != many


def test_a_text_is_never_cut_inside_a_character(tales: Run) -> None:
    for tokens in range(1, 12):
        for item in generate(tales, None, 8, 1, None, {"tokens": tokens}).items:
            assert "\ufffd" not in item
            assert len(item.encode()) <= tokens


def test_files_and_their_manifests(tales: Run, tmp_path: Path) -> None:
    made = generate(tales, "ab", 10, 4, tmp_path / "out", {"tokens": 12, "top_p": 0.9}, first=5)
    assert [path.name for path in made.files] == [f"tales-4-{i}.txt" for i in range(5, 15)]
    for i, (path, item) in enumerate(zip(made.files, made.items, strict=True), 5):
        assert path.read_text() == item
        said = manifest.read(path)
        assert (said.seed, said.index, said.prompt, said.knobs) == (4, i, "ab", {"tokens": 12, "top_p": 0.9})
        assert said.batch == (tuple(range(5, 13)) if i < 13 else (13, 14))
        assert said.sha256 == files.sha256(path)
        assert said.maker.data == {"path": "/data/toys", "version": 3, "digest": "d" * 64}
        assert said.maker.weights_sha256 == files.sha256(tales.path / "model.safetensors")
        assert (said.maker.run, said.maker.recipe) == ("tales", "toy")
        assert Path(said.maker.run_path) == tales.path


def test_pictures_go_to_the_run(shapes: Run) -> None:
    made = generate(shapes, None, 18, 0, None, {"steps": 1})
    assert {path.parent for path in made.files} == {shapes.path / "samples"}
    assert made.items[17] == {"seed": 0, "index": 17, "shape": [6, 8, 3], "sha256": files.sha256(made.files[17])}
    assert manifest.read(made.files[17]).batch == (16, 17)
    one = generate(shapes, None, 1, 0, None, {"steps": 1}, first=17)
    assert one.files == [made.files[17]]  # the same content needs no second name


def test_a_label_is_a_prompt(pets: Run, tmp_path: Path) -> None:
    cat, dog = (generate(pets, name, 1, 0, tmp_path / name, {}).files[0] for name in ("cat", "dog"))
    assert not np.array_equal(image.read(cat.read_bytes()), image.read(dog.read_bytes()))
    assert manifest.read(cat).prompt == "cat"
    with pytest.raises(UsageError, match=r"'cow'.*cat, dog"):
        generate(pets, "cow", 1, 0, tmp_path, {})


def test_earlier_work_is_not_replaced(shapes: Run, tmp_path: Path, tales: Run) -> None:
    first = generate(tales, None, 1, 0, tmp_path, {"tokens": 9})
    other = generate(tales, "ab", 1, 0, tmp_path, {"tokens": 9})
    third = generate(tales, "STEP", 1, 0, tmp_path, {"tokens": 9})
    names = [path.name for made in (first, other, third) for path in made.files]
    assert names == ["tales-0-0.txt", "tales-0-0-2.txt", "tales-0-0-3.txt"]
    assert first.files[0].read_text() == first.items[0]


def test_one_file_by_name(tales: Run, tmp_path: Path) -> None:
    made = generate(tales, None, 1, 0, tmp_path / "poem.txt", {"tokens": 9})
    assert made.files == [tmp_path / "poem.txt"]
    with pytest.raises(UsageError, match=r"written as \.txt"):
        generate(tales, None, 1, 0, tmp_path / "poem.png", {})
    with pytest.raises(UsageError, match="name a folder"):
        generate(tales, None, 2, 0, tmp_path / "poem.txt", {})
    (tmp_path / "v1.5").mkdir()
    assert generate(tales, None, 1, 0, tmp_path / "v1.5", {"tokens": 9}).files[0].parent.name == "v1.5"


@pytest.mark.parametrize(
    ("n", "first", "knobs", "said"),
    [(0, 0, {}, "n = 0"), (1, -1, {}, "first = -1"), (1, 0, {"steps": 3}, "'steps'"), (1, 0, {"top_p": 2}, "top_p")],
)
def test_what_will_not_do_is_named(tales: Run, n: int, first: int, knobs: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        generate(tales, None, n, 0, None, knobs, first=first)


def test_a_model_without_a_prompt_refuses_one(shapes: Run) -> None:
    with pytest.raises(UsageError, match="takes no prompt"):
        generate(shapes, "a cat", 1, 0, None, {})


def test_a_prompt_that_is_no_text(tales: Run) -> None:
    with pytest.raises(UsageError, match="no UTF-8"):
        generate(tales, b"caf\xe9".decode(errors="surrogateescape"), 1, 0, None, {})
    assert generate(tales, "line\nbreak\0", 1, 0, None, {"tokens": 1}).items[0].startswith("line\nbreak\0")


def test_progress_is_told(shapes: Run) -> None:
    seen: list[tuple[float, float | None]] = []
    generate(shapes, None, 20, 0, None, {}, first=3, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(16, 20), (20, 20)]
