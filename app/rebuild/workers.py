"""Copies partitions in processes side by side; what they have done comes back through a queue. Used by `rebuild.py`."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

from agents.pet_keys import open_pet_keys
from projections.shadow.bulk import BulkJob, copy_partition
from projections.shadow.runs import Mark

LOOK_SECONDS: Final = 0.2

_marks: Any = None


async def copy_all(jobs: Sequence[BulkJob], processes: int, told: Callable[[Mark], None]) -> list[Mark]:
    """Copy the partitions, at most `processes` at a time; `told` hears of progress. Raises what one of them raises."""
    context = multiprocessing.get_context("spawn")
    marks = context.Queue()
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(marks,)) as pool:
        copying = [loop.run_in_executor(pool, _copy, job) for job in jobs]
        done = asyncio.gather(*copying)
        try:
            while not done.done():
                await asyncio.wait({done}, timeout=LOOK_SECONDS)
                _drain(marks, told)
            return list(await done)
        finally:
            for each in copying:
                each.cancel()
            for process in (pool._processes or {}).values():
                if not done.done() or done.exception() is not None:
                    process.terminate()


def _drain(marks: Any, told: Callable[[Mark], None]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            told(marks.get_nowait())


def _begin(marks: Any) -> None:
    global _marks
    _marks = marks
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """A worker whose parent was killed copies for nobody."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


def _copy(job: BulkJob) -> Mark:
    mark = asyncio.run(_copy_with_keys(job))
    _tell(mark)
    return mark


async def _copy_with_keys(job: BulkJob) -> Mark:
    async with open_pet_keys(job.bootstrap_servers, job.keys_topic) as keys:
        return await copy_partition(job, keys, _tell)


def _tell(mark: Mark) -> None:
    _marks.put(mark)
