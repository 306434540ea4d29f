"""How long work is watched. The library says what it does through a Watch; the command line draws it, a script
ignores it.
"""

from __future__ import annotations

from typing import Protocol, final


class Watch(Protocol):
    """Told of stages, of progress within one, and of single facts worth a line."""

    def stage(self, name: str, about: str = "") -> None:
        """A stage begins; the one before it has ended."""

    def tick(self, done: float, total: float | None = None, note: str = "") -> None:
        """So much of `total` is done (any unit; None: unknown)."""

    def say(self, line: str) -> None:
        """A fact worth a line of its own."""


@final
class Silent:
    """Hears all, says nothing."""

    def stage(self, name: str, about: str = "") -> None:
        """Nothing."""

    def tick(self, done: float, total: float | None = None, note: str = "") -> None:
        """Nothing."""

    def say(self, line: str) -> None:
        """Nothing."""
