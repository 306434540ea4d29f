"""Likelihoods are those of the answer given the question, whatever is asked beside it; draws end where they should."""

import math
from itertools import pairwise

import pytest
import torch
from task_toys import VOCAB, examinee, heart, pairs
from toys import text_phase

from genus.core import Model
from genus.data.packed import PackedConfig
from genus.dialogue import Message
from genus.errors import UsageError
from genus.run import assemble
from genus.tasks.examinee import Examinee
from genus.tasks.task import Prompt


def table() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(VOCAB + 1, VOCAB)


def of_pairs(rows: torch.Tensor, before: str, text: str) -> float:
    logs = rows.double().log_softmax(-1)
    ids = [VOCAB, *before.encode(), *text.encode()]
    return -sum(float(logs[a, b]) for a, b in list(pairwise(ids))[-len(text.encode()) :])


def test_an_answer_costs_what_its_bytes_do_given_the_question():
    rows = table()
    found = examinee(pairs(rows)).likelihoods([Prompt("ab"), Prompt("")], [["cd", "é"], ["x"]])
    assert [[one.nats for one in row] for row in found] == [
        pytest.approx([of_pairs(rows, "ab", "cd"), of_pairs(rows, "ab", "é")], abs=1e-4),
        pytest.approx([of_pairs(rows, "", "x")], abs=1e-4),
    ]
    assert [(one.tokens, one.bytes) for one in found[0]] == [(2, 2), (2, 2)]


def test_texts_are_scored_without_an_end_mark_in_any_window():
    rows = table()
    text = "the cat sat on the mat, " * 3
    for window in (16, 1024):
        (found,) = examinee(pairs(rows)).nats([text], window)
        assert found.nats == pytest.approx(of_pairs(rows, "", text), abs=1e-3) or window == 16
        assert found.tokens == found.bytes == len(text)
    (even,) = examinee(pairs(torch.zeros(VOCAB + 1, VOCAB))).nats([text], 16)
    assert even.nats == pytest.approx(len(text) * math.log(VOCAB))


@pytest.fixture(scope="module")
def trained() -> Model:
    phase = text_phase()
    torch.manual_seed(1)
    made = assemble(phase.but(source=PackedConfig(window=160)), phase.codec.load(None), "turn")  # type: ignore[arg-type]
    with torch.no_grad():
        for weight in made.nets.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return made


PROMPTS = [Prompt("the cat "), Prompt("the cat sat on "), Prompt("hello"), Prompt("")]
ANSWERS = [["sat", "on a mat"], ["me", "you", "it"], ["x"], ["abc", "d"]]


def test_a_memory_changes_nothing(trained):
    """A transformer with a state, many questions at once; and each answer read whole by itself."""
    asked = Examinee(trained, batch=2)
    predict, _ = trained.predictor()
    for prompt, answers, found in zip(PROMPTS, ANSWERS, asked.likelihoods(PROMPTS, ANSWERS), strict=True):
        for answer, likely in zip(answers, found, strict=True):
            ids = asked.ids(Prompt(prompt.text + answer))
            x = torch.cat([torch.tensor([[VOCAB]]), ids[:, :-1]], 1)[None]
            with torch.no_grad():
                logs = predict(x)[0, 0].log_softmax(-1).gather(-1, ids[0][:, None])[len(prompt.text) :]
            assert likely.nats == pytest.approx(-float(logs.sum()), abs=1e-3)


def test_draws_are_the_same_alone(trained):
    asked = Examinee(trained, batch=1)
    every = asked.draws(PROMPTS[:3], 8, seed=5, temperature=1.0)
    alone = asked.draws(PROMPTS[1:2], 8, seed=5, indices=[1], temperature=1.0)
    assert every[1].text == alone[0].text
    assert every[1].logs == pytest.approx(alone[0].logs, abs=1e-3)


def test_in_turns_the_end_of_the_answer_counts(trained):
    talk = Prompt("", (Message("user", "say cat"),))
    asked = Examinee(trained, chat=True)
    ((likely,),) = asked.likelihoods([talk], [[" cat."]])
    assert likely.tokens == len("cat.") + 1, "four bytes and the end mark"
    assert bytes(asked.ids(talk)[0].tolist()).decode().endswith("<|assistant|>\n")


def test_an_answer_ends_at_its_stop_string_and_no_later():
    asked = examinee(heart({"who": (" me\nQuestion: who else", 0.99)}))
    prompt = Prompt("Question: who\nAnswer:")
    (said,) = asked.draws([prompt], 30, ("\nQuestion:",), temperature=0)
    assert said.text == " me"
    (line,) = asked.draws([prompt], 30, ("\n",), temperature=0)
    assert line.text == " me" and len(line.logs) == 4 and line.whole
    assert sum(line.logs) == pytest.approx(4 * math.log(0.99), abs=1e-4)


def test_what_does_not_fit_the_window_is_refused():
    with pytest.raises(UsageError, match="fewer --shots"):
        examinee(pairs(table()), 16).likelihoods([Prompt("a" * 14)], [["bc"]])
