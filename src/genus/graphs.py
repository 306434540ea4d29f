"""Compiled graphs (torch.compile), and what their compiler has to know of functions.

It is told when there is something to compile, not before: to load it takes over a second, and most commands never do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])

_CONSTANT: list[Callable[..., Any]] = []
_APART: list[list[Callable[..., Any]]] = []


def constant(function: Function) -> Function:
    """What it returns never changes: the compiler asks once."""
    _CONSTANT.append(function)
    return function


def apart(function: Function) -> Function:
    """It is called as it is: a graph ends before it and another begins behind."""
    now: list[Callable[..., Any]] = [function]
    _APART.append(now)

    @wraps(function)
    def called(*args: Any, **named: Any) -> Any:
        return now[0](*args, **named)

    return called  # type: ignore[return-value]


def compiled(function: Function, backend: str = "inductor") -> Function:
    """It, compiled for shapes that do not change."""
    compiler: Any = torch.compiler  # what it offers has no types
    while _CONSTANT:
        compiler.assume_constant_result(_CONSTANT.pop())
    while _APART:
        now = _APART.pop()
        now[0] = compiler.disable(now[0])
    made: Any = torch.compile(function, dynamic=False, backend=backend)
    return made  # type: ignore[no-any-return]
