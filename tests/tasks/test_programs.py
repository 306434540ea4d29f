"""Problems with unit tests: a model of known answers must get known figures."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from genus.errors import UsageError
from genus.sandbox import Limits
from genus.tasks import find
from genus.tasks.examinee import Said
from genus.tasks.problems import HumanEval, Mbpp
from genus.tasks.programs import Programs, prompt

HEAD = 'def {}(x):\n    """Add {}."""\n'
CHECK = "def check(candidate):\n    assert candidate(1) == {}\n"
LIMITS = Limits(seconds=2, wall=30)


@pytest.fixture
def data(tmp_path):
    (tmp_path / "humaneval").mkdir()
    (tmp_path / "mbpp").mkdir()
    problems = [
        {"prompt": HEAD.format(name, i), "entry_point": name, "test": CHECK.format(1 + i)}
        | {"canonical_solution": f"    return x + {i}\n"}
        for i, name in enumerate(["none", "one", "two", "three"])
    ]
    (tmp_path / "humaneval" / "test.jsonl").write_text("\n".join(map(json.dumps, problems)))
    task = {"text": "Add.", "code": "def sum(a, b):\r\n    return a + b", "test_setup_code": ""}
    rows = [task | {"test_list": ["assert sum(1, 2) == 3", "assert sum(0, 2) == 2"]}]
    for name in ("test", "prompt"):
        (tmp_path / "mbpp" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


class Examinee:
    """Answers by a function of (prompt, index)."""

    def __init__(self, data, answer, chat=False):
        self.data, self.answer, self.chat, self.seen = data, answer, chat, []

    def draws(self, prompts, tokens, stop=(), seed=0, indices=None, **knobs):
        indices = range(len(prompts)) if indices is None else indices
        self.seen += list(zip(prompts, indices, strict=True))
        return [Said(self.answer(p, i), (0.0,)) for p, i in zip(prompts, indices, strict=True)]


def adds(told):
    """The number that a problem asks to add."""
    return int(told.text.split("Add ")[-1].split(".")[0])


def test_pass_at_k_counts_what_passes_and_repairs_begin_from_what_was_said(data):
    def answer(told, index):
        wanted = adds(told)
        if "failed" in told.text:
            assert "the left side is 1" in told.text
            return f"    return x + {wanted}"
        return f"    return x + {wanted if index % 2 else 0}"  # every second attempt ignores what is wanted

    task = Programs(name="t", items=HumanEval(), attempts=2, ks=(1, 2), repairs=1, limits=LIMITS)
    examinee = Examinee(data, answer)
    outcome = task(examinee)
    figures = {score.name: score.finding().value for score in outcome.scores}
    assert figures == {"pass_at_1": (1 + 0.5 * 3) / 4, "pass_at_2": 1.0, "pass_at_1_after_1_repair": 1.0}
    assert outcome.main.name == "pass_at_1" and len(outcome.items) == 4 and len(outcome.said) == 4
    assert "8 programs 5 passed, 3 failed" in outcome.notes[1]
    assert len({index for _, index in examinee.seen}) == len(examinee.seen) == 11  # no draw is used twice


def test_a_repair_that_does_not_help_changes_nothing(data):
    task = Programs(name="t", items=HumanEval(), repairs=2, limits=LIMITS)
    outcome = task(Examinee(data, lambda told, index: "    return x"))
    assert [score.finding().value for score in outcome.scores] == [0.25, 0.25, 0.25]
    low, high = outcome.scores[0].finding().low, outcome.scores[0].finding().high
    assert 0 < low < 0.25 < high < 1


def test_a_conversation_answers_with_the_whole_program(data):
    def answer(told, index):
        text = told.messages[-1].text
        assert "Complete this Python function" in text
        return f"Of course:\n```python\n{text.split('```python')[1].strip('`').strip()}\n    return x + 0\n```\nDone."

    outcome = Programs(name="t", items=HumanEval(), limits=LIMITS)(Examinee(data, answer, chat=True))
    np.testing.assert_array_equal(sorted(outcome.scores[0].columns[0]), [0, 0, 0, 1])


def test_mbpp_is_asked_behind_examples_and_may_be_of_a_builtin(data):
    task = Programs(name="t", items=Mbpp(), shots=1, limits=LIMITS)
    examinee = Examinee(data, lambda told, index: "def sum(a, b):\n    return a + b\n")
    assert task(examinee).scores[0].finding().value == 1
    item = Mbpp().read(examinee)[0]
    told = prompt(item, Mbpp().examples(examinee))
    assert told.text.count("assert sum(1, 2) == 3") == 2 and told.text.endswith('"""\n') and "\r" not in told.text
    assert [m.role for m in told.messages] == ["user", "assistant", "user"]


def test_named_ones_say_where_their_data_is_wanted():
    for name in ("humaneval", "mbpp"):
        with pytest.raises(UsageError, match="GENUS_DATA"):
            find(name)(SimpleNamespace(data=None))
