"""One thread that computes for all requests, a step of each in turn: a short text does not wait for a long one to end.

A request is an iterator whose every `next` is a small piece of work (a token, a step of an ode). Several threads in one
model would only take turns at the same cores, and a sampler's memory is better held by few: `together` requests take
turns, the others wait in order. Knows no model; results cross to the event loop that asked.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar, final

import torch

from genus.errors import GenusError

T = TypeVar("T")


@final
class Busy(GenusError):
    """Too many requests wait already."""


@final
@dataclass(eq=False)
class Job(Generic[T]):
    """One request's work. Iterating gives its results, and raises what a step raised; cancel what is not wanted."""

    steps: Iterator[T]
    loop: asyncio.AbstractEventLoop
    results: asyncio.Queue[tuple[str, Any]] = field(default_factory=asyncio.Queue)
    cancelled: bool = False

    def cancel(self) -> None:
        """No further step is taken. Harmless if there is none left."""
        self.cancelled = True

    def tell(self, what: str, value: Any = None) -> None:
        """From the worker's thread: a result, or the end."""
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            self.loop.call_soon_threadsafe(self.results.put_nowait, (what, value))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        what, value = await self.results.get()
        if what == "value":
            result: T = value
            return result
        self.results.put_nowait((what, value))  # the end stays the end, however often it is asked for
        if what == "error":
            raise value
        raise StopAsyncIteration


@final
class Worker:
    """together: requests that take turns; waiting: further ones that may queue."""

    def __init__(self, together: int = 8, waiting: int = 256) -> None:
        self._together, self._limit = together, waiting
        self._turns: deque[Job[Any]] = deque()
        self._waiting: deque[Job[Any]] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def __len__(self) -> int:
        """Requests that are not finished."""
        with self._change:
            return len(self._turns) + len(self._waiting)

    def submit(self, steps: Iterator[T]) -> Job[T]:
        """Queue some work; called in the event loop that will read it. Raises `Busy`."""
        job = Job(steps, asyncio.get_running_loop())
        with self._change:
            if len(self._waiting) >= self._limit:  # those who have left the queue make room
                self._waiting = deque(other for other in self._waiting if not other.cancelled)
            if self._closed or len(self._waiting) >= self._limit:
                raise Busy(f"{len(self._waiting)} requests wait already; try again in a moment")
            self._waiting.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="genus-worker", daemon=True)
                self._thread.start()
            self._change.notify()
        return job

    def close(self) -> None:
        """Finish the step at hand and end; what is unfinished is told so."""
        with self._change:
            self._closed = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join()

    def _next(self) -> Job[Any] | None:
        with self._change:
            while not (self._turns or self._waiting or self._closed):
                self._change.wait()
            if self._closed:
                return None
            while self._waiting and len(self._turns) < self._together:
                self._turns.append(self._waiting.popleft())
            return self._turns[0]

    def _work(self) -> None:
        while (job := self._next()) is not None:
            what, value = self._step(job)
            with self._change:
                self._turns.popleft()
                if what == "value":
                    self._turns.append(job)
            if what != "left":  # told only now: who hears that it ended finds it gone
                job.tell(what, value)
        for job in (*self._turns, *self._waiting):
            job.tell("error", Busy("the server is closing"))

    @staticmethod
    def _step(job: Job[Any]) -> tuple[str, Any]:
        """Take one step: what came of it, "left" if nobody wants to hear."""
        # Gradients are a property of the thread, and samplers that take turns would hand each other's setting on.
        with torch.no_grad():
            try:
                if job.cancelled:
                    close = getattr(job.steps, "close", None)
                    if close is not None:
                        close()
                    return "left", None
                return "value", next(job.steps)
            except StopIteration:
                return "end", None
            except Exception as error:
                return "error", error
