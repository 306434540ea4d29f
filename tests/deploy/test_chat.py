"""A conversation: turns are kept, pieces make the answer; without a template the text goes on."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.testing import CliRunner

from genus.cli import app
from genus.deploy.chat import Chat
from genus.deploy.passage import whole
from genus.run import Run


def test_without_a_template_the_text_goes_on(tales: Run) -> None:
    chat = Chat(tales.model(), 3, {"tokens": 12})
    first = "".join(chat.tell("Gr"))
    assert first == whole(tales.model(), "Gr", 3, [0], {"tokens": 12})[0].text
    second = "".join(chat.tell("na"))
    assert second == whole(tales.model(), "Gr" + first + "na", 3, [1], {"tokens": 12})[0].text
    assert [m["role"] for m in chat.said] == ["user", "assistant", "user", "assistant"]


def test_with_a_template_it_answers(tales: Run) -> None:
    codec: Any = tales.model().codec
    seen: list[Any] = []

    def conversation(messages: Any, reply: bool = True, **more: Any) -> list[int]:
        seen.append([dict(m) for m in messages])
        return list(b"Gr")

    codec.conversation, codec.converses = conversation, True
    chat = Chat(tales.model(), 0, {"tokens": 5}, [{"role": "system", "content": "Be brief."}])
    answer = "".join(chat.tell("Hello"))
    assert seen[0] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert answer == whole(tales.model(), "Gr", 0, [0], {"tokens": 5})[0].text


def test_the_verb_reads_lines(tales: Run) -> None:
    made = CliRunner().invoke(app, ["chat", str(tales.path), "--tokens", "6", "--seed", "3"], input="Gr\n")
    if made.exception is not None and not isinstance(made.exception, SystemExit):
        raise made.exception
    assert made.output.strip() == whole(tales.model(), "Gr", 3, [0], {"tokens": 6})[0].text.strip()


def test_the_verb_takes_what_generate_takes(tales: Run) -> None:
    given = ["--tokens", "12", "--regex", "[0-9]{3}", "--logit-bias", "48=-1", "--top-k", "40"]
    made = CliRunner().invoke(app, ["chat", str(tales.path), *given], input="Gr\n")
    if made.exception is not None and not isinstance(made.exception, SystemExit):
        raise made.exception
    knobs = {"tokens": 12, "regex": "[0-9]{3}", "logit_bias": {48: -1.0}, "top_k": 40}
    assert made.output.strip() == whole(tales.model(), "Gr", 0, [0], knobs)[0].text
    assert re.fullmatch("[0-9]{3}", made.output.strip())


def test_a_turn_that_cannot_be_read_is_forgotten(tales: Run) -> None:
    chat = Chat(tales.model(), 0, {"tokens": 5, "top_k": 0})
    with pytest.raises(Exception, match="top_k"):
        list(chat.tell("Gr"))
    assert not chat.said
