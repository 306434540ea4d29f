"""evaluate over a run with data: what it writes, and what training held."""

import json
from dataclasses import replace

import pytest
import torch
from toys import recipe, text_phase
from typer.testing import CliRunner

from genus.cli import app
from genus.data.dataset import Dataset
from genus.data.dataset import Item as Row
from genus.data.packed import PackedConfig
from genus.errors import UsageError
from genus.run import Run
from genus.tasks.examinee import Examinee
from genus.tasks.stage import contaminated, evaluate
from genus.tasks.task import Item, Outcome
from genus.train.budget import Budget
from genus.train.stage import train

PLANTED = "A lighthouse keeper writes down the weather three times a day, and nobody reads it but the sea"
FRESH = "Seven grey geese crossed the frozen lake before anyone in the village had thought of breakfast at all"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    base = tmp_path_factory.mktemp("home")
    data = Dataset.create(base / "datasets" / "toy")
    texts = [f"the cat sat on a mat {i} times and saw a red ball of wool." for i in range(40)]
    rows = [*texts, f"It is told: {PLANTED}. So it goes."]
    data.append(Row(origin=f"{i}", medium="text", content=t.encode(), declared="train") for i, t in enumerate(rows))
    phase = text_phase()
    made = recipe(phase.but(source=PackedConfig(window=256)))
    torch.manual_seed(0)
    train(made, Dataset.open(data.path), base / "runs" / "toy", Budget("2 steps", steps=2))
    return base


def questions(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_a_planted_test_set_is_found_and_scored_without(home, tmp_path):
    file = questions(
        tmp_path / "q.jsonl",
        {"question": PLANTED, "choices": ["yes", "no"], "label": 0},
        {"question": FRESH, "choices": ["yes", "no"], "label": 1},
        {"question": FRESH.replace("Seven", "Eight"), "choices": ["no", "yes"], "label": 1},
    )
    made = evaluate(Run(home / "runs" / "toy"), [file])
    (entry,) = made.entries
    assert entry.dirty is not None and entry.dirty.value == pytest.approx(1 / 3) and entry.judged == 3
    assert entry.whole is not None and entry.whole.value == pytest.approx(1 / 3)
    assert len(entry.clean) == len(entry.found) and entry.clean[0].value in (0.0, 0.5, 1.0)
    hits = [score.columns[0][1:].mean() for score in entry.outcome.scores[:3]]
    assert [finding.value for finding in entry.clean[:3]] == hits
    said = json.loads((home / "runs" / "toy" / "evaluation.json").read_text())
    (task,) = said["tasks"]
    assert task["items"] == 3 and task["contamination"]["share"]["value"] == pytest.approx(1 / 3)
    assert {"value", "low", "high", "chance"} <= set(task["metrics"][0]) and task["metrics"][0]["chance"] == 0.5
    assert "Contaminated: 33.3%" in (home / "runs" / "toy" / "evaluation.html").read_text()


def test_an_answer_that_training_held_counts_too(home):
    items = [Item("Fresh?", PLANTED), Item(PLANTED), Item(FRESH, FRESH, worked=f"Well: {PLANTED}."), Item(FRESH, "no")]
    both = [Outcome(items[:3], ()), Outcome(items[3:], ())]
    (first, second), _ = contaminated(Examinee.of(Run(home / "runs" / "toy")), both)
    assert first is not None and second is not None
    assert first.dirty.tolist() == [True, True, True] and first.whole.tolist() == [False, True, False]
    assert not second.dirty.any() and second.judged.all()


def test_every_number_of_examples_is_asked(home, tmp_path):
    file = questions(tmp_path / "q.jsonl", *({"question": f"say <b>{i}</b>", "answer": f"{i}"} for i in range(8)))
    made = evaluate(Run(home / "runs" / "toy"), [file], shots=[0, 2], limit=3, settings={"tokens": 2})
    assert [(entry.shots, len(entry.outcome.items)) for entry in made.entries] == [(0, 3), (2, 3)]
    first, second = ([item.asked for item in entry.outcome.items] for entry in made.entries)
    assert first == second
    page = made.page.read_text()
    assert "<b>0</b>" not in page and "examples shown" in page


def test_what_cannot_be_asked_is_refused(home, tmp_path):
    run = Run(home / "runs" / "toy")
    file = questions(tmp_path / "q.jsonl", {"question": "q", "answer": "1"})
    for more, said in (
        ({"limit": 0}, "limit = 0"),
        ({"shots": [-1]}, "shots = -1"),
        ({"settings": {"colour": 1}}, "colour"),
        ({"settings": {"tokens": 400}}, "ask for fewer"),
    ):
        with pytest.raises(UsageError, match=said):
            evaluate(run, [file], **more)
    with pytest.raises(UsageError, match="no task"):
        evaluate(run, ["nothing-of-this-name"])


def test_the_verb_prints_a_table_or_one_object(home, tmp_path):
    file = questions(tmp_path / "q.jsonl", {"question": PLANTED, "choices": ["a", "b"], "label": 0})
    run = CliRunner().invoke(app, ["evaluate", "toy", "--task", file, "--home", str(home)])
    assert run.exit_code == 0 and "accuracy_per_byte" in run.stdout and "100.0% of 1 items contaminated" in run.stdout
    run = CliRunner().invoke(app, ["evaluate", "toy", "--task", f"facts-choice,{file}", "--limit", "2", "--shots", "0",
                                   "--home", str(home), "--json"])  # fmt: skip
    assert run.exit_code == 0
    assert [task["task"] for task in json.loads(run.stdout)["tasks"]] == ["facts-choice", "q.jsonl"]
    run = CliRunner().invoke(app, ["evaluate", "toy", "--task", "list"])
    assert run.exit_code == 0 and "gsm8k" in run.stdout
    assert CliRunner().invoke(app, ["evaluate", "toy", "--task", file, "--shots", "x"]).exit_code != 0


def test_weights_from_elsewhere_say_that_nothing_is_known(home, tmp_path, monkeypatch):
    real = Examinee.of
    monkeypatch.setattr(Examinee, "of", staticmethod(lambda *a, **k: replace(real(*a, **k), dataset=None)))
    file = questions(tmp_path / "q.jsonl", {"question": PLANTED, "choices": ["a", "b"], "label": 0})
    made = evaluate(Run(home / "runs" / "toy"), [file])
    assert made.entries[0].dirty is None and "not known" in made.notes[0]


def test_of_several_tasks_the_one_that_does_not_fit_is_named(home, tmp_path):
    short = questions(tmp_path / "short.jsonl", {"question": "Wool?", "choices": ["yes", "no"], "label": 0})
    long = questions(tmp_path / "long.jsonl", {"question": "Wool? " * 99, "choices": ["yes", "no"], "label": 0})
    with pytest.raises(UsageError, match=r"^long\.jsonl, 0 examples: .* was trained on 256"):
        evaluate(Run(home / "runs" / "toy"), [short, long])
