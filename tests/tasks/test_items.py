"""Questions from files in the forms that there are, and from what the libraries know."""

import json

import pytest
from task_toys import examinee, heart

from genus.errors import UsageError
from genus.tasks import find, names
from genus.tasks.stage import chosen
from genus.tasks.table import Table, among, cut
from genus.tasks.task import Item
from genus.tasks.world import World

NET = examinee(heart({}))


def rows(path, *found):
    path.write_text("\n".join(map(json.dumps, found)))
    return Table(path=str(path)).read(NET)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "choices": ["x", "y"], "label": 1},
        {"question": "q", "options": ["x", "y"], "answer": "B"},
        {"prompt": "q", "choices": ["x", "y"], "answer": "y"},
        {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
        {"ctx": "q", "endings": ["x", "y"], "label": "1"},
    ],
)
def test_choices_in_every_form(tmp_path, row):
    (item,) = rows(tmp_path / "t.jsonl", row)
    assert (item.asked, item.choices, item.right, item.answer) == ("q", ("x", "y"), 1, "y")


def test_templates_name_columns(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"a": "one", "b": 2, "c": ["three", "four"]}]))
    (item,) = Table(path=str(path), asked="{a}: {b}", answer="{c}").read(NET)
    assert (item.asked, item.answer) == ("one: 2", "three")
    with pytest.raises(UsageError, match="no column 'd'"):
        Table(path=str(path), asked="{d}").read(NET)
    (item,) = Table(path=str(path), asked="{a}", choices=("{b}", "{a}")).read(NET)
    assert item.choices[item.right] == "2" and set(item.choices) == {"2", "one"}


def test_answers_of_others_stand_beside_the_right_one():
    items = among([Item(f"q{i}", f"a{i % 8}") for i in range(40)], 3)
    assert all(len(set(item.choices)) == 4 and item.choices[item.right] == item.answer for item in items)
    assert len({item.right for item in items}) == 4
    with pytest.raises(UsageError, match="ask for fewer"):
        among([Item("q", "a"), Item("r", "a")], 1)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.jsonl", '{"question": "q", "answer": "12"}', "tasks.drawn"),
        ("a.jsonl", '{"question": "q", "choices": ["a", "b"], "answer": "A"}', "tasks.choice"),
        ("a.jsonl", '{"text": "long"}', "tasks.perplexity"),
        ("a.csv", "question,answer\nq,yes\n", "tasks.drawn"),
        ("a.txt", "some words", "tasks.perplexity"),
    ],
)
def test_a_file_says_what_it_is(tmp_path, name, content, kind):
    (tmp_path / name).write_text(content)
    task = chosen(str(tmp_path / name))
    assert task.kind == kind and task.name == name
    if kind == "tasks.drawn":
        assert task.reward.kind == ("rewards.arithmetic" if "12" in content else "rewards.match")
    assert chosen(f"recall:{tmp_path / name}").kind == "tasks.recall"


def test_long_texts_are_cut_at_empty_lines_and_nothing_is_lost():
    text = "".join(f"line {i} of it\n" + ("\n" if i % 5 == 4 else "") for i in range(200))
    pieces = list(cut(text, 300))
    assert "".join(pieces) == text and all(piece.endswith("\n\n") for piece in pieces[:-1])
    assert max(map(len, pieces)) < 400
    assert "".join(cut("x" * 1000, 300)) == "x" * 1000


@pytest.mark.parametrize(
    ("content", "said"), [("[]", "no rows"), ("{", "cannot be read"), ('[{"x": []}]', "no question")]
)
def test_bad_tables_are_refused(tmp_path, content, said):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(UsageError, match=said):
        Table(path=str(tmp_path / "t.json")).read(NET)


def test_missing_public_sets_are_explained(tmp_path):
    with pytest.raises(UsageError, match="GENUS_DATA"):
        find("gsm8k").items.read(NET)
    with pytest.raises(UsageError, match=r"evaluate\.md"):
        Table(path="gsm8k/test.jsonl").read(examinee(heart({}), data=tmp_path))


def test_every_named_task_is_found_by_its_name():
    assert names() and all(find(name).name == name for name in names())
    with pytest.raises(UsageError, match="did you mean 'facts'"):
        find("fact")
    with pytest.raises(UsageError, match=r"there is no file letters/odd\.jsonl; name one of your own"):
        find("letters/odd.jsonl")


def test_the_world_is_as_it_is():
    every = World(each=10_000)
    known = {item.asked: item.answer for item in [*every.read(NET), *every.examples(NET)]}
    assert known["What is the French name of the country Germany?"] == "Allemagne"
    assert known["What is the international telephone calling code of Norway?"] == "+47"
    assert known["Which month comes after December?"] == "January"
    assert known["Which letter of the Greek alphabet is \u03c9?"] == "Omega"
    assert all(known.values())


def test_examples_of_the_world_are_not_asked_and_tell_of_silence():
    world = World(invented=0.25)
    asked, shown = world.read(NET), world.examples(NET)
    assert asked == World(invented=0.25).read(NET)
    assert not {item.asked for item in asked} & {item.asked for item in shown}
    assert 0.2 < sum(not item.answer for item in asked) / len(asked) < 0.3
    assert [bool(item.answer) for item in shown[:4]] == [False, True, False, True]


def test_sums_are_right():
    for item in World(about=("sums",), sums=50).read(NET):
        assert str(eval(item.asked.removeprefix("What is ").rstrip("?"))) == item.answer
