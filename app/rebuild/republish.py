"""`rebuild --republish`: the snapshots of pets' current versions, sent again to `media.clusters.updated`.

They are the fold's own bytes under their own `ce_id`, from the rows of the live generation's changelog: a consumer that
has them sees repeats. Of a pet that was purged and has no version since, it is the tombstone: a snapshot of ours may
have come behind the fold's.

The topic is compacted, so an older snapshot must never be its last. So behind each batch the command waits until the
fold has committed all that the log held then: whatever was sent before ours stands in the changelog now, and pets that
have moved are sent once more. Run by `app.rebuild.run`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition

from app.clients import create_producer
from app.faust_apps import group_id
from app.fold_generations import read_standing
from app.pace import Pace
from app.progress import Display
from app.rebuild.fold.live_tables import pet_of, take_changelog
from app.rebuild.fold.place import changelog_of
from app.rebuild.place import Place
from app.rebuild.turn import alone
from app.settings import Settings
from projections.fold_state import FoldState
from projections.log_reading import log_consumer
from projections.offsets import LogOffsets
from schemas.errors import StopProcess
from schemas.headers import build_headers
from tables.outputs import Output, gone_output
from tables.rows import decode_event_row, decode_head, erased_of, head_key, is_head, row_key

BATCH: Final = 500
COMMIT_SECONDS: Final = 60.0
"""How long the fold may take to commit what the log holds."""
LOOK_SECONDS: Final = 0.2
SOURCE: Final = "/fold"
"""As the fold's own messages have it."""
_DONE: Final = b"\xff/done"


class Republish:
    """Sends snapshots again, at most `rate` a second. Raises StopProcess when another rebuild runs."""

    def __init__(self, settings: Settings, place: Place, display: Display, rate: float, only_pet: str = "") -> None:
        self._settings = settings
        self._place = place
        self._display = display
        self._pace = Pace(rate)
        self._only = only_pet.encode()
        self._sent = 0

    async def run(self) -> int:
        """All pets with a version or a purge, or the one; returns how many messages were sent.

        A run that was killed goes on.
        """
        async with alone(self._place):
            live = (await read_standing(self._settings)).live.generation
            folder = self._place.state / f"republish-{live}"
            async with AsyncExitStack() as opened:
                consumer = log_consumer(self._settings.kafka_bootstrap_servers)
                producer = create_producer(self._settings, "media-rebuild")
                broker = await opened.enter_async_context(LogOffsets(self._settings.kafka_bootstrap_servers))
                for each in (consumer, producer):
                    opened.push_async_callback(each.stop)
                    await each.start()
                fold = _Fold(broker, group_id(self._settings, "fold", live), self._place.topics.pet_log.name)
                for number in range(self._settings.kafka_partitions):
                    with closing(FoldState(folder / str(number))) as state:
                        changelog = TopicPartition(changelog_of(self._settings, live), number)
                        await self._partition(_Live(consumer, changelog, state), producer, fold)
            shutil.rmtree(folder)
        self._display.say("sent again", topic=self._place.topics.clusters_updated.name, messages=self._sent)
        return self._sent

    async def _partition(self, live: _Live, producer: Any, fold: _Fold) -> None:
        await live.follow()
        pets = [pet for pet in live.pets() if not self._only or pet == self._only]
        began = time.monotonic()
        for start in range(0, len(pets), BATCH):
            batch = pets[start : start + BATCH]
            await self._batch(live, producer, fold, batch)
            live.done(batch[-1])
            done, seconds = start + len(batch), time.monotonic() - began
            self._display.step(f"sending partition {live.partition}", done, len(pets), seconds)
        self._display.stop()

    async def _batch(self, live: _Live, producer: Any, fold: _Fold, pets: Sequence[bytes]) -> None:
        """Send the pets' last messages, and again those of pets that the fold has moved, or purged, meanwhile."""
        left = set(pets)
        while left:
            sent = {pet: last for pet in sorted(left) if (last := live.last(pet)) is not None}
            for pet, last in sent.items():
                await self._pace.wait()
                await self._send(producer, live.partition, pet, last)
            await fold.until_committed(live.partition)
            await live.follow()
            left = {pet for pet, last in sent.items() if live.last(pet) != last}

    async def _send(self, producer: Any, partition: int, pet: bytes, last: _Last) -> None:
        output = last.output
        headers = build_headers(event_id=output.id, event_type=output.type, source=SOURCE, time=last.time)
        topic = self._place.topics.clusters_updated.name
        await producer.send_and_wait(topic, output.value or None, key=pet, partition=partition, headers=headers)
        self._sent += 1


class _Last(NamedTuple):
    """A pet's last message on the topic. `time`: its `ce_time`; of a tombstone, up to when the purge reaches."""

    output: Output
    time: str


class _Fold:
    """Where the live fold stands."""

    def __init__(self, broker: LogOffsets, group: str, log: str) -> None:
        self._broker = broker
        self._group = group
        self._log = log

    async def until_committed(self, partition: int) -> None:
        """Wait until it has committed all that the partition of the log holds now."""
        tp = TopicPartition(self._log, partition)
        end = (await self._broker.ends([tp]))[tp]
        deadline = time.monotonic() + COMMIT_SECONDS
        while (committed := (await self._broker.committed(self._group, [tp]))[tp]) < end:
            if time.monotonic() > deadline:
                raise StopProcess(
                    f"the fold stands at {self._log}/{partition}/{committed}, {end - committed} events before the end:"
                    " run the same again when it has caught up"
                )
            await asyncio.sleep(LOOK_SECONDS)


class _Live:
    """The live fold's rows of one partition, in a folder, as far as its changelog was read."""

    def __init__(self, consumer: Any, changelog: TopicPartition, rows: FoldState) -> None:
        self._consumer = consumer
        self._changelog = changelog
        self._rows = rows
        self.partition = changelog.partition

    async def follow(self) -> None:
        """Read the changelog to where it ends now."""
        await take_changelog(self._consumer, self._changelog, self._rows, self._rows.offset)

    def pets(self) -> list[bytes]:
        """The pets that are left to do, in order."""
        after = self._rows.get(_DONE, b"")
        return sorted(pet for key in self._rows if is_head(key) and (pet := pet_of(key)) > after)

    def done(self, pet: bytes) -> None:
        """All pets up to this one are done."""
        self._rows[_DONE] = pet

    def last(self, pet: bytes) -> _Last | None:
        """What the fold has sent about the pet's current version, or the tombstone of a purge that left it without
        one; None before its first.
        """
        name = pet.decode()
        raw = self._rows.get(head_key(name))
        if raw is None:
            return None
        state = decode_head(raw).state
        if state.version_offset < 0:
            erased = erased_of(state)
            return None if erased is None else _Last(gone_output(name, erased.purges[-1]), erased.accepted_until)
        outputs = decode_event_row(self._rows[row_key(name, "c", state.version_offset)]).outputs
        snapshots = (output for output in outputs if output.channel == "updated")
        return next((_Last(output, json.loads(output.value)["updated_at"]) for output in snapshots), None)
