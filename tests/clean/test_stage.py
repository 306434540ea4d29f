from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from genus.clean import clean, usual
from genus.clean.near import NearDuplicates
from genus.clean.private import Email
from genus.clean.rule import Rule
from genus.data.dataset import Dataset, Item, split_of
from genus.errors import UsageError
from genus.media import MEDIA
from genus.parts import Part, parse
from genus.recipe import Training

Make = Callable[..., Path]
Read = Callable[[Path], dict[str, dict[str, object]]]
Prose = Callable[..., str]


def test_a_cleaning_and_its_report(made: Make, rows: Read, prose: Prose) -> None:
    first = prose(1)
    path = made(
        ("a.txt", first),
        ("b.txt", first),
        ("c.txt", first.upper() + " "),
        ("d.txt", prose(2) + " Write to jo@site.org, or to ann@site.org."),
        ("e.txt", prose(3) + " caf\ufffd" * 9),
    )
    result = clean(path)
    assert result.removed == {"exact_duplicates": 1, "near_duplicates": 1, "replacement_characters": 1}
    assert result.masked == {"email": 1}
    assert result.kept == 2
    said = result.json()
    assert set(said) == {"dataset", "version", "kept", "rules", "removed", "masked"}
    assert said["rules"]["email"]["count"] == 1
    assert "<EMAIL>" in said["rules"]["email"]["examples"][0]
    assert "@" not in json.dumps(said["rules"])
    assert said["rules"]["near_duplicates"]["examples"] == ["c.txt is 1.00 like a.txt"]
    assert said["version"] == Dataset.open(path).version
    found = rows(path)
    assert {name: row["reason"] for name, row in found.items() if row["status"] == "removed"} == {
        "b.txt": "exact_duplicates",
        "c.txt": "near_duplicates",
        "e.txt": "replacement_characters",
    }
    assert found["d.txt"]["cleaned"].endswith(b"Write to <EMAIL>, or to <EMAIL>.")  # type: ignore[union-attr]
    assert b"jo@site.org" in found["d.txt"]["content"]  # type: ignore[operator]
    assert json.loads(str(found["d.txt"]["notes"])) == {"email": 2}
    assert found["a.txt"]["language"] == "en"
    assert found["c.txt"]["group"] == found["b.txt"]["group"] == found["a.txt"]["id"]
    assert found["a.txt"]["group"] is None
    assert {found[name]["split"] for name in ("a.txt", "b.txt", "c.txt")} == {found["a.txt"]["split"]}


def test_cleaning_twice_is_cleaning_once(made: Make, prose: Prose) -> None:
    path = made(*((f"{i}.txt", prose(i // 2) + f" {i}@site.org") for i in range(40)))
    first = clean(path)
    digest = Dataset.open(path).digest()
    second = clean(path)
    assert second == first
    assert Dataset.open(path).digest() == digest


def test_the_order_of_items_and_of_batches_does_not_matter(
    made: Make, rows: Read, prose: Prose, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(*((f"{i}.txt", prose(i // 3, 60 + i)) for i in range(30)))
    monkeypatch.setattr("genus.clean.rows.TIERS", (400, 500, 1 << 62))
    monkeypatch.setattr("genus.clean.rows.READ", 2000)
    small = clean(path)
    state = rows(path)
    monkeypatch.undo()
    assert clean(path) == small
    assert rows(path) == state


def test_undo_restores_and_is_remembered(made: Make, rows: Read, prose: Prose) -> None:
    path = made(("a.txt", prose(1)), ("b.txt", prose(1).lower()), ("c.txt", prose(2) + " me@site.org"))
    assert clean(path).kept == 2
    undone = clean(path, undo=["near_duplicates", "email"])
    assert undone.kept == 3
    assert undone.masked == {}
    assert rows(path)["c.txt"]["cleaned"] is None
    again = clean(path)
    assert again.kept == 3
    assert again.version == undone.version
    # Twins that both stay still share a split.
    assert rows(path)["b.txt"]["group"] == rows(path)["a.txt"]["id"]
    with pytest.raises(UsageError, match=r"no rule here is called 'nothing'.*near_duplicates"):
        clean(path, undo=["nothing"])


def test_a_duplicate_never_crosses_into_a_declared_test_split(made: Make, rows: Read, prose: Prose) -> None:
    def item(name: str, text: str, declared: str | None) -> Item:
        return Item(origin=name, medium="text", content=text.encode(), declared=declared)

    path = made(
        item("train.txt", prose(1) + " and a longer end", "train"),
        item("test.txt", prose(1), "test"),
        item("open.txt", prose(1).upper(), None),
        item("val.txt", prose(2), "val"),
        item("later.txt", prose(2), "test"),
    )
    clean(path)
    found = rows(path)
    assert {name: (row["status"], row["split"]) for name, row in found.items()} == {
        "train.txt": ("removed", "train"),
        "test.txt": ("kept", "test"),
        "open.txt": ("removed", "test"),
        "val.txt": ("removed", "val"),
        "later.txt": ("kept", "test"),
    }


def test_one_picture_with_two_captions_stays_twice(made: Make) -> None:
    file = io.BytesIO()
    Image.effect_mandelbrot((64, 64), (-3, -2.5, 2, 2.5), 100).save(file, "PNG")
    names = ("a", "b", "c")
    captions = ("a snail", "a shell", "a snail")
    path = made(
        *(
            Item(origin=n, medium="image", content=file.getvalue(), caption=c)
            for n, c in zip(names, captions, strict=True)
        )
    )
    assert clean(path).removed == {"exact_duplicates": 1}


def test_pictures_blank_and_broken(made: Make, rows: Read) -> None:
    file = io.BytesIO()
    Image.new("L", (40, 40), 9).save(file, "PNG")
    good = io.BytesIO()
    Image.effect_noise((40, 40), 50).save(good, "PNG")
    path = made(
        Item(origin="blank", medium="image", content=file.getvalue()),
        Item(origin="broken", medium="image", content=good.getvalue()[:300]),
        Item(origin="good", medium="image", content=good.getvalue()),
    )
    assert clean(path).removed == {"broken": 1, "blank": 1}
    assert rows(path)["good"]["status"] == "kept"


def test_what_was_refused_is_not_touched(made: Make, rows: Read, prose: Prose) -> None:
    path = made(
        Item(origin="no", sha256="0" * 64, status="refused", reason="opted out"),
        ("yes.txt", prose(1)),
        ("two.txt", prose(2)),
    )
    assert clean(path).kept == 2
    assert rows(path)["no"]["reason"] == "opted out"


def test_rules_of_a_recipe_are_the_rules_used(made: Make, prose: Prose) -> None:
    path = made(("a.txt", prose(1) + " me@site.org"), ("b.txt", prose(1) + " me@site.org"))
    result = clean(path, [Email(mark="[mail]")])
    assert result.removed == {}
    assert set(result.counts) == {"broken", "email"}
    assert clean(path, [NearDuplicates()]).removed == {"near_duplicates": 1}
    with pytest.raises(UsageError, match="not a rule of cleaning"):
        clean(path, [Training()])


def test_an_empty_dataset_and_one_that_is_not_there(made: Make, tmp_path: Path) -> None:
    assert clean(made()).kept == 0
    with pytest.raises(UsageError, match="no dataset"):
        clean(tmp_path / "none")


def test_progress_is_told(made: Make, prose: Prose) -> None:
    told: list[tuple[int, int]] = []
    clean(made(("a.txt", prose(1)), ("b.txt", prose(2))), progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (2, 2)


@pytest.mark.parametrize("medium", [*MEDIA, "sound"])
def test_usual_rules_are_parts_that_read_back(medium: str) -> None:
    rules = usual(medium)
    assert rules
    names = [rule.name for rule in rules if isinstance(rule, Rule)]
    assert len(set(names)) == len(rules)
    for rule in rules:
        again = parse(json.loads(rule.model_dump_json()))
        assert isinstance(again, Part)
        assert again == rule


def test_where_chance_holds_nothing_out_one_item_is(made: Make, rows: Read, prose: Prose) -> None:
    def split(text: str) -> str:
        return split_of(hashlib.sha256(text.encode()).hexdigest())

    texts = [text for text in map(prose, range(60)) if split(text) == "train"][:6]
    path = made(*((f"{i}.txt", text) for i, text in enumerate(texts)))
    clean(path)
    splits = [row["split"] for row in rows(path).values()]
    assert sorted(splits) == ["test", *["train"] * 5]
    clean(path)
    assert [row["split"] for row in rows(path).values()] == splits
    # When there is one by chance, it takes that place.
    other = next(text for text in map(prose, range(60, 200)) if split(text) == "val")
    Dataset.open(path).append([Item(origin="other", medium="text", content=other.encode())])
    clean(path)
    assert sorted(str(row["split"]) for row in rows(path).values()) == [*["train"] * 6, "val"]


@pytest.mark.parametrize("case", ["too few", "declared"])
def test_nothing_is_held_out_of_three_or_against_what_is_declared(
    case: str, made: Make, rows: Read, prose: Prose
) -> None:
    texts = [t for t in map(prose, range(60)) if split_of(hashlib.sha256(t.encode()).hexdigest()) == "train"]
    declared = "train" if case == "declared" else None
    items = [Item(origin=str(i), medium="text", content=t.encode(), declared=declared) for i, t in enumerate(texts)]
    path = made(*items[: 3 if case == "too few" else 8])
    clean(path)
    assert {row["split"] for row in rows(path).values()} == {"train"}
