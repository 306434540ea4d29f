"""A Watch for people: stages, bars with rate and time left, single facts. On standard error, so results can be piped.

Where standard error is no terminal it is quiet but for the names of stages and single facts; with --json it is silent.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft

from genus.watch import Watch


@final
class Screen(Watch):
    """Draws while it is entered: `with Screen() as watch: ...`."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, quiet=quiet)
        self.live = self.console.is_terminal and not quiet
        columns = (
            TextColumn("[bold]{task.description:9}"),
            BarColumn(bar_width=28),
            TaskProgressColumn(show_speed=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeLeft(elapsed_when_finished=False),
            TextColumn("[dim]{task.fields[note]}"),
        )
        self.progress = Progress(*columns, console=self.console, disable=not self.live, transient=False)
        self.task: TaskID | None = None

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(done=kind is None)
        self.progress.stop()

    def _close(self, done: bool = True) -> None:
        if self.task is not None and done:
            total = self.progress.tasks[-1].total or 1
            self.progress.update(self.task, total=total, completed=total)
            self.progress.stop_task(self.task)
        self.task = None

    def stage(self, name: str, about: str = "") -> None:
        """A new bar below the finished ones."""
        self._close()
        self.console.print(f"[bold]{name}[/bold] [dim]{about}[/dim]")
        self.task = self.progress.add_task(name, total=None, note="")

    def tick(self, done: float, total: float | None = None, note: str = "") -> None:
        """Moves the bar."""
        if self.live and self.task is not None:
            self.progress.update(self.task, completed=done, total=total, note=note)

    def say(self, line: str) -> None:
        """A line above the bar."""
        self.console.print(f"  {line}", markup=False, soft_wrap=True)
