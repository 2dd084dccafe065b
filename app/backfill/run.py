"""Submits a job for each line of a file. Called by `python -m app backfill`.

A round, and what a crash behind each step does:
1. lines read, until they have a second's commands         read again
2. their commands produced, waited for the broker's word   produced again, under the same `ce_id`s: the fold counts one
3. the lines noted as done (progress_file.py)              it goes on behind them
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from app.backfill.display import Display
from app.backfill.lines import JobReader, Line, read_lines
from app.backfill.progress_file import Done, load_done, store_done
from app.pace import Pace
from app.views.services import KafkaUnavailable
from bridges.messages import Message, command_message
from bridges.translate import JobRequest, to_commands
from schemas.commands import EmbedImages
from schemas.errors import InvalidInput, StopProcess
from schemas.topics import Topics

CE_SOURCE: Final = "/backfill"
GIVE_UP_SECONDS: Final = 300.0
FIRST_DELAY: Final = 0.2
LONGEST_DELAY: Final = 5.0
MAX_BATCH: Final = 500
"""Commands, and lines, that are noted together at most: they are in memory at once."""

Send = Callable[[Sequence[Message]], Awaitable[None]]


@dataclass
class Batch:
    """Lines that are noted together once the broker has their commands. `done`: how it stands behind them."""

    done: Done
    commands: list[EmbedImages] = field(default_factory=list)
    refused: list[tuple[int, InvalidInput]] = field(default_factory=list)
    bytes_read: int = 0


class Backfill:
    """One run over `source`. `rate`: commands a second, infinite for no limit. `state_file`: None notes nothing.

    `send` raises KafkaUnavailable; what fails is repeated for `give_up_s`. `kafka`: how it is called then.
    """

    def __init__(
        self,
        source: BinaryIO,
        *,
        run: str,
        state_file: Path | None,
        rate: float,
        send: Send,
        topics: Topics,
        clock: Callable[[], datetime],
        display: Display,
        kafka: str = "Kafka",
        give_up_s: float = GIVE_UP_SECONDS,
    ) -> None:
        self._lines = read_lines(source)
        self._jobs = JobReader(run)
        self._state_file = state_file
        self._pace = Pace(rate)
        self._batch = max(1, int(min(rate, MAX_BATCH)))
        self._send = send
        self._topics = topics
        self._clock = clock
        self._display = display
        self._kafka = kafka
        self._give_up_s = give_up_s
        self._hash = hashlib.sha256()
        self._bytes = 0
        self.before = Done(run=run) if state_file is None else load_done(state_file, run)
        """What earlier runs have done."""
        self._done = self.before

    async def work(self) -> Done:
        """Submit what is not done yet; returns what is done in all. Raises StopProcess when it cannot go on."""
        await asyncio.to_thread(self._skip)
        while batch := await asyncio.to_thread(self._next):
            for number, error in batch.refused:
                self._display.refused(number, error.field, error.reason)
            if batch.commands:
                await self._pace.wait(len(batch.commands))
                await self._submit(batch.commands)
            self._done = batch.done
            if self._state_file is not None:
                await asyncio.to_thread(store_done, self._state_file, self._done)
            self._display.progress(self._done, batch.bytes_read)
        return self._done

    def _skip(self) -> None:
        """Read what is done already: to know its pets, and to be sure that it is still the same."""
        for line in self._take(self._done.lines):
            try:
                self._jobs.read(line)
            except InvalidInput:
                continue  # told by the run that noted it
        if self._hash.hexdigest() != self._done.sha256:
            raise StopProcess(
                f"--file: its first {self._done.lines} lines are not those that were submitted under --state-file;"
                " submit another file under another --run and --state-file"
            )

    def _next(self) -> Batch | None:
        """Lines with about a second's commands; None at the end."""
        batch = Batch(msgspec.structs.replace(self._done))
        taken = 0
        for line in self._take(self._batch):
            taken += 1
            batch.done.lines = line.number
            try:
                job = self._jobs.read(line)
            except InvalidInput as error:
                batch.done.refused += 1
                batch.refused.append((line.number, error))
                continue
            if job is not None:
                self._add(batch, job)
            if len(batch.commands) >= self._batch:
                break
        batch.done.sha256, batch.bytes_read = self._hash.hexdigest(), self._bytes
        return batch if taken else None

    def _add(self, batch: Batch, job: JobRequest) -> None:
        commands = to_commands(job, source=f"backfill:{self._done.run}", now=self._clock())
        batch.commands += commands
        batch.done.jobs += 1
        batch.done.commands += len(commands)
        batch.done.images += len(job.image_ids)

    def _take(self, number: int) -> Iterator[Line]:
        for _ in range(number):
            line = next(self._lines, None)
            if line is None:
                return
            self._hash.update(line.raw)
            self._bytes += len(line.raw)
            yield line

    async def _submit(self, commands: Sequence[EmbedImages]) -> None:
        now = self._clock()
        messages = [command_message(self._topics, command, ce_source=CE_SOURCE, now=now) for command in commands]
        delay, given_up_at = FIRST_DELAY, asyncio.get_running_loop().time() + self._give_up_s
        while True:
            try:
                return await self._send(messages)
            except KafkaUnavailable as error:
                if asyncio.get_running_loop().time() >= given_up_at:
                    raise StopProcess(f"{self._kafka} does not confirm: {error}; run it again, it goes on") from error
                if delay > FIRST_DELAY:  # the first: it has just begun to connect
                    self._display.waiting(str(error), delay)
                await asyncio.sleep(delay)
                delay = min(2 * delay, LONGEST_DELAY)
