"""Chat templates: Jinja programs of others, filled in a sandbox that lets them change nothing and run for no time.

Products, powers and loops are counted, so that a template cannot hold the machine: `9 ** (9 ** 9)` is refused before it
is reckoned. Not here: special tokens and what guards them (`codecs.published`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Never

from jinja2 import Template, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

#: Turns of loops over `range`, of all loops of one filling, and characters or bits of a product.
MOST = 1_000_000


class Generation(Extension):
    """{% generation %}: what some templates put around answers; here it changes nothing."""

    tags: ClassVar[set[str]] = {"generation"}  # type: ignore[misc]

    def parse(self, parser: Any) -> Any:
        """What stands inside, as it is."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Room(ImmutableSandboxedEnvironment):
    """For one template, filled by one at a time. turns: of loops, in this filling."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
        self.turns = 0
        self.filters["tojson"] = json_of
        self.globals |= {"raise_exception": refuse, "strftime_now": now, "range": self.range}

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """A product or a power, unless it is too large."""
        if _large(operator, left, right):
            raise OverflowError(f"{operator} makes more than {MOST:,} characters or bits")
        return super().call_binop(context, operator, left, right)

    def range(self, *args: int) -> range:
        """`range`, whose turns are counted: a loop in a loop asks for it again and again."""
        found = range(*args)
        self.turns += len(found)
        if self.turns > MOST:
            raise OverflowError(f"loops of more than {MOST:,} turns")
        return found


def size(value: Any, count: int) -> int:
    """Characters, items or bits of `count` times a value."""
    one = len(value) if hasattr(value, "__len__") else value.bit_length() if isinstance(value, int) else 64
    return one * max(0, count)


def _large(operator: str, left: Any, right: Any) -> bool:
    whole = isinstance(left, int), isinstance(right, int)
    if operator == "**":
        return whole == (True, True) and size(left, right) > MOST
    if all(whole):
        return size(left, 1) + size(right, 1) > MOST
    items, count = (right, left) if whole[0] else (left, right)
    return isinstance(count, int) and size(items, count) > MOST


def json_of(value: Any, indent: int | None = None, **_: Any) -> str:
    """The filter `tojson`, which escapes no letters."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def refuse(said: str) -> Never:
    """A template's own error."""
    raise TemplateError(said)


def now(form: str) -> str:
    """The time here, as a template wants it."""
    return datetime.now().strftime(form)


def filled(template: str, messages: Sequence[Any], known: Mapping[str, Any]) -> str:
    """The text that a template makes of messages. Raises anything: it is a program of others."""
    room, program = _read(template, threading.get_ident())
    room.turns = 0
    return program.render(**known, messages=messages)


@lru_cache(maxsize=16)
def _read(template: str, thread: int) -> tuple[Room, Template]:
    """Read once by each thread: that takes longer than to fill it."""
    room = Room()
    return room, room.from_string(template)
