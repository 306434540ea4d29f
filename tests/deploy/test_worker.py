from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from genus.deploy.worker import Busy, Worker


def counting(name: str, n: int, log: list[str]) -> Iterator[int]:
    for i in range(n):
        log.append(name)
        yield i


async def all_of(job: Any) -> list[Any]:
    return [value async for value in job]


def test_results_arrive_in_order_and_in_turn() -> None:
    log: list[str] = []

    async def main() -> None:
        worker = Worker()
        start = threading.Event()
        hold = worker.submit(iter(lambda: start.wait(5) and 0, 0))  # keeps the thread until all have asked
        jobs = [worker.submit(counting(name, n, log)) for name, n in (("long", 50), ("short", 5), ("tiny", 1))]
        start.set()
        assert await all_of(hold) == []
        assert [await all_of(job) for job in jobs] == [list(range(50)), list(range(5)), [0]]
        assert len(worker) == 0
        worker.close()

    asyncio.run(main())
    assert log[:7] == ["long", "short", "tiny", "long", "short", "long", "short"]


def test_only_so_many_take_turns_and_wait() -> None:
    log: list[str] = []

    async def main() -> None:
        worker = Worker(together=1, waiting=2)
        start = threading.Event()
        hold = worker.submit(iter(lambda: start.wait(5) and 0, 0))
        while worker._waiting:
            await asyncio.sleep(0.001)
        jobs = [worker.submit(counting(name, 3, log)) for name in "ab"]
        with pytest.raises(Busy, match="2 requests wait"):
            worker.submit(counting("c", 1, log))
        left = jobs.pop()
        left.cancel()
        jobs.append(worker.submit(counting("d", 3, log)))  # in the place of one that left
        start.set()
        for job in (hold, *jobs):
            await all_of(job)
        worker.close()

    asyncio.run(main())
    assert log == list("aaaddd")


def test_an_error_reaches_who_asked_and_nobody_else() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("no")

    async def main() -> None:
        worker = Worker()
        bad, good = worker.submit(broken()), worker.submit(iter([1, 2]))
        with pytest.raises(ValueError, match="no"):
            await all_of(bad)
        assert await all_of(good) == [1, 2]
        worker.close()

    asyncio.run(main())


def test_cancelled_work_is_closed() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    async def main() -> None:
        worker = Worker()
        job = worker.submit(endless())
        await anext(job)
        job.cancel()
        assert await asyncio.to_thread(closed.wait, 5)
        worker.close()
        assert len(worker) == 0

    asyncio.run(main())


def test_closing_tells_those_who_wait() -> None:
    async def main() -> None:
        worker = Worker()
        job = worker.submit(iter(int, 1))
        await anext(job)
        await asyncio.to_thread(worker.close)
        with pytest.raises(Busy, match="closing"):
            await all_of(job)
        with pytest.raises(Busy):
            worker.submit(iter([1]))

    asyncio.run(main())


def test_gradients_stay_off_whoever_ends_first() -> None:
    """Generators that hold no_grad open across a yield would restore it for each other in the wrong order."""
    seen: list[bool] = []

    def draws(n: int) -> Iterator[int]:
        with torch.no_grad():
            for i in range(n):
                seen.append(torch.is_grad_enabled())
                yield i

    async def main() -> None:
        worker = Worker()
        for job in [worker.submit(draws(n)) for n in (2, 6, 3)]:
            await all_of(job)
        worker.close()

    asyncio.run(main())
    assert seen == [False] * 11
