"""Works on partitions in processes side by side; what they have done comes back through a queue.

Used by `app.rebuild`, `app.verify` and `app.whatif`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final, Self, TypeVar

from projections.shadow.runs import Mark

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")
Work = Callable[[JobT, Callable[[Mark], None]], Awaitable[ResultT]]

LOOK_SECONDS: Final = 0.2

_marks: Any = None


class Workers:
    """At most `processes` processes, started when they are first needed, for as long as the block runs."""

    def __init__(self, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._marks = context.Queue()
        self._pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(self._marks,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    async def run(
        self, work: Work[JobT, ResultT], jobs: Sequence[JobT], told: Callable[[Mark], None] = lambda mark: None
    ) -> list[ResultT]:
        """Do `work`, a module's function, for each job; `told` hears of progress.

        Raises what one of them raises; then the processes are ended, too.
        """
        loop = asyncio.get_running_loop()
        with _interrupts_held():
            working = [loop.run_in_executor(self._pool, _work, work, job) for job in jobs]
        done = asyncio.gather(*working)
        done.add_done_callback(_taken)
        try:
            while not done.done():
                await asyncio.wait({done}, timeout=LOOK_SECONDS)
                _drain(self._marks, told)
            return list(await done)
        finally:
            for each in working:
                each.cancel()
            for process in (self._pool._processes or {}).values():
                if not done.done() or done.exception() is not None:
                    process.terminate()


async def work_on_all(
    work: Work[JobT, ResultT], jobs: Sequence[JobT], processes: int, told: Callable[[Mark], None]
) -> list[ResultT]:
    """Do the jobs, at most `processes` at a time; as `Workers.run`."""
    with Workers(processes) as workers:
        return await workers.run(work, jobs, told)


def _taken(done: asyncio.Future[Any]) -> None:
    """Who was cancelled does not wait for it: asyncio would print that nobody has."""
    if not done.cancelled():
        done.exception()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Within the block SIGINT waits; of a process that is started in it, for ever.

    A terminal sends Ctrl-C to all processes of a command. The command ends its workers itself, and each of them would
    print a traceback, also while it is still importing.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _drain(marks: Any, told: Callable[[Mark], None]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            told(marks.get_nowait())


def _begin(marks: Any) -> None:
    global _marks
    _marks = marks
    # What a worker holds (pets, rows) lives long: by default the collector would look through all of it at every turn.
    gc.set_threshold(50_000, 20, 1_000)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """A worker whose parent was killed works for nobody."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def _work(work: Work[JobT, ResultT], job: JobT) -> ResultT:
    return asyncio.run(_awaited(work, job))


async def _awaited(work: Work[JobT, ResultT], job: JobT) -> ResultT:
    return await work(job, _tell)


def _tell(mark: Mark) -> None:
    _marks.put(mark)
