"""Conversations as text: a text like any other for collect and clean, and messages for what learns to answer.

    <|system|>       how to answer
    <|user|>         what is asked
    <|assistant|>    what is answered
    <|rejected|>     what should not have been: an answer that was judged worse than the one before it, or bad
    <|tool|>         what a tool gave back

Each mark stands on a line of its own. A line of a message that reads as a mark gets a backslash before it, so any text
may be said. A small root: knows no torch, no file and no model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

THINK, THOUGHT = "<think>", "</think>"  # around what a model says to itself before it answers
ROLES = ("system", "user", "assistant", "rejected", "tool")
#: How data sets that others made call them.
ALIASES = {
    **{role: role for role in ROLES},
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "developer": "system",
    "function": "tool",
    "ipython": "tool",
    "observation": "tool",
}
_MARK = re.compile(rf"^<\|({'|'.join(ROLES)})\|>$(?:\n|\Z)", re.MULTILINE)
_LIKE = re.compile(rf"^(\\*<\|(?:{'|'.join(ROLES)})\|>)$", re.MULTILINE)
_ESCAPED = re.compile(rf"^\\(\\*<\|(?:{'|'.join(ROLES)})\|>)$", re.MULTILINE)


class Message(NamedTuple):
    """What one side says in one turn."""

    role: str
    text: str


def written(messages: Iterable[Message]) -> str:
    """The text that stands for a conversation; `read` gives it back."""
    return "\n".join(head(m.role) + escaped(m.text) for m in messages)


def read(text: str) -> tuple[Message, ...]:
    """The messages of a text; none if it is no conversation: one begins with a mark."""
    marks = list(_MARK.finditer(text))
    if not marks or marks[0].start():
        return ()
    ends = [mark.start() - 1 for mark in marks[1:]] + [len(text)]
    return tuple(
        Message(mark[1], _ESCAPED.sub(r"\1", text[mark.end() : end])) for mark, end in zip(marks, ends, strict=True)
    )


def head(role: str) -> str:
    """The line that opens a turn."""
    return f"<|{role}|>\n"


def escaped(text: str) -> str:
    """A message's text with nothing in it that reads as a mark."""
    return _LIKE.sub(r"\\\1", text)


def pieces(messages: Sequence[Message], answer: bool = False) -> list[tuple[str, bool]]:
    """How a model reads a conversation that has no template of its own: (text, whether the assistant says it).

    What the assistant says ends with the codec's end mark, which is not written here. answer: one is asked for, so the
    last turn is opened. Raises `ValueError` for a role that no model is to learn from.
    """
    found: list[tuple[str, bool]] = []
    for role, text in messages:
        if role == "rejected":
            raise ValueError("a rejected answer is no turn of a conversation; see `versions`")
        if role == "assistant":
            found += [(head(role), False), (escaped(text), True)]
        else:
            found.append((f"{head(role)}{escaped(text)}\n", False))
    return [*found, (head("assistant"), False)] if answer else found


def versions(messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The conversation as it should have gone, and as it should not: either is empty where nothing says so.

    The second ends with the last rejected answer. An answer right before a rejected one is what was preferred to it.
    """
    good = tuple(m for m in messages if m.role != "rejected")
    last = max((i for i, m in enumerate(messages) if m.role == "rejected"), default=None)
    bad: tuple[Message, ...] = ()
    if last is not None:
        before = [m for m in messages[:last] if m.role != "rejected"]
        if before and before[-1].role == "assistant":
            before.pop()
        bad = (*before, Message("assistant", messages[last].text))
    return (good if any(m.role == "assistant" for m in good) else ()), bad


def listed(value: Any) -> tuple[Message, ...]:
    """Messages from the forms that tables have: {role, content} or {from, value}, contents a text or parts of it.

    None if the value is something else, a role is unknown or nothing is said.
    """
    if not isinstance(value, list) or not value or not all(isinstance(one, Mapping) for one in value):
        return ()
    found = []
    for one in value:
        role = ALIASES.get(str(one.get("role", one.get("from", ""))).strip().lower())
        said = one.get("content", one.get("value"))
        if isinstance(said, list):
            said = "".join(str(part.get("text") or "") for part in said if isinstance(part, Mapping))
        if role is None or not isinstance(said, str):
            return ()
        found.append(Message(role, said))
    return tuple(found) if any(m.text.strip() for m in found) else ()
