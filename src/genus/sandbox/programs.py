"""Programs and tests in what is said: the code of an answer, the asserts of a text, what these call."""

from __future__ import annotations

import ast
import builtins
import re

_FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)


def program(said: str) -> str:
    """The code of an answer: all that stands between fences, one block after another; without fences, all of it."""
    blocks = _FENCE.findall(said)
    return "\n".join(blocks) if blocks else said


def asserts(text: str) -> str:
    """The asserts of a text with the imports among them: of code, or of prose with asserts on lines of their own."""
    code = program(text)
    try:
        lines = ast.parse(code).body
    except (SyntaxError, ValueError):
        found = [line.strip() for line in code.splitlines() if line.strip().startswith("assert ")]
        return "\n".join(line for line in found if _parses(line))
    kept = [ast.get_source_segment(code, one) or "" for one in lines if isinstance(one, _TESTS)]
    return "\n".join(kept) if any(isinstance(one, ast.Assert) for one in lines) else ""


_TESTS = (ast.Assert, ast.Import, ast.ImportFrom)


def each(tests: str) -> list[str]:
    """Every assert by itself, with the imports before it."""
    found, imports = [], ""
    for one in ast.parse(tests).body:
        part = ast.get_source_segment(tests, one) or ""
        if isinstance(one, ast.Assert):
            found.append(imports + part)
        else:
            imports += part + "\n"
    return found


def shadowed(tests: str) -> tuple[str, ...]:
    """Builtins that tests are of: what they call, where they call nothing else."""
    calls = [node.func for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Call)]
    called = [name.id for name in calls if isinstance(name, ast.Name)]
    return tuple(dict.fromkeys(called)) if all(hasattr(builtins, name) for name in called) else ()


def _parses(line: str) -> bool:
    try:
        ast.parse(line)
    except (SyntaxError, ValueError):
        return False
    return True
