"""`rebuild --pet`: one pet's rows in Postgres, made anew and compared; with `--swap` put in place.

The pet's partition of the log is read whole, its facts alone are folded. Everything in Postgres is one transaction:
without `--swap`, or killed, nothing of it was there. Run by `app.rebuild.run`.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from aiokafka import TopicPartition

from agents.pet_keys import open_pet_keys
from app.partitions import log_partitions, partition_of
from app.progress import Display
from app.rebuild.place import Place
from app.rebuild.turn import alone
from projections.answers import read_latest
from projections.log_reading import log_end, read_facts
from projections.queries import load
from projections.replayed import Change, feed
from projections.shadow import one_pet
from projections.shadow.compare import Comparison, compare_pet
from projections.shadow.history import leave_out
from projections.shadow.swap import begin_generation
from schemas.answers import encode_answer
from schemas.errors import InvalidInput, StopProcess
from schemas.pet_keys import KeyReader
from schemas.versions import PetVersion
from tables.replay import LogReplay


class PetRebuild:
    """A rebuild of one pet; raises StopProcess when another rebuild runs, or the log has no version of the pet."""

    def __init__(self, place: Place, display: Display, pet_id: str) -> None:
        self._place = place
        self._display = display
        self._pet_id = pet_id

    async def compare(self) -> Comparison:
        """Make the rows and compare them with the live ones; nothing stays."""
        return await self._build(put=False)

    async def swap(self) -> Comparison:
        """Put the rows in place; what differed before."""
        return await self._build(put=True)

    async def _build(self, *, put: bool) -> Comparison:
        place, pet_id = self._place, self._pet_id
        log = log_partitions(place.bootstrap_servers, place.topics.pet_log.name)
        async with alone(place) as connection, log as (consumer, numbers), AsyncExitStack() as opened:
            keys = await opened.enter_async_context(open_pet_keys(place.bootstrap_servers, place.topics.pet_keys.name))
            partition = await self._partition(connection, numbers)
            history = _History(consumer, place.topics.pet_log.name, partition, pet_id, keys)
            changes = await history.more()
            if not changes:
                raise StopProcess(f"the log has no version of {pet_id}")
            self._display.say("folded", pet=pet_id, versions=sum(isinstance(change, PetVersion) for change in changes))
            transaction = connection.transaction()
            await transaction.start()
            try:
                found = await self._compare(connection, changes)
                if put:
                    await self._put(connection, history)
            except BaseException:
                await transaction.rollback()
                raise
            await (transaction.commit() if put else transaction.rollback())
            if put:
                await self._refresh(connection)
            return found

    async def _compare(self, connection: Any, changes: list[Change]) -> Comparison:
        try:
            await one_pet.build(connection, changes)
        except InvalidInput as error:
            raise StopProcess(
                f"{self._pet_id}: a version cannot be written ({error}): a release that can write it must rebuild"
            ) from error
        if self._place.start is not None:
            left_out = await leave_out(connection, one_pet.SCHEMA, self._place.start)
            self._display.say("left out", versions=left_out)
        found = await compare_pet(connection, one_pet.SCHEMA, self._pet_id)
        self._display.compared(found)
        return found

    async def _put(self, connection: Any, history: _History) -> None:
        await one_pet.hold_projector(connection, self._place.topics.pet_versions.name)
        await one_pet.follow(connection, await history.more())
        await one_pet.put_in_place(connection, self._pet_id)
        generation = await begin_generation(connection)
        self._display.say("put in place", pet=self._pet_id, generation=generation)

    async def _refresh(self, connection: Any) -> None:
        """The new generation's answer, over which the cache takes none that was read from the rows before."""
        answer = await read_latest(connection, self._pet_id)
        if answer is None:  # a purged pet: the cache has its mark
            return
        await self._place.cache.put(self._pet_id, encode_answer(answer), answer.generation, answer.version)
        self._display.say("cached", pet=self._pet_id, version=answer.version, generation=answer.generation)

    async def _partition(self, connection: Any, numbers: list[int]) -> int:
        """Where the pet's rows say that its facts are; else where its key leads."""
        known: int | None = await connection.fetchval(load("read_log_partition"), self._pet_id)
        return partition_of(self._pet_id, len(numbers)) if known is None else known


class _History:
    """A pet's versions, folded from its partition of the log."""

    def __init__(self, consumer: Any, log: str, partition: int, pet_id: str, keys: KeyReader) -> None:
        self._consumer = consumer
        self._tp = TopicPartition(log, partition)
        self._keys = keys
        self._fold = LogReplay(partition, only_pet=pet_id, keys=keys)
        self._next = 0

    async def more(self) -> list[Change]:
        """What is new since the last call, up to where the log ends now."""
        found = list[Change]()
        end = await log_end(self._consumer, self._tp)
        async for records, reached in read_facts(self._consumer, self._tp, self._next, end, self._keys):
            for record in records:
                found += feed(self._fold, record.offset, record.key, record.value)
            self._next = reached
        return found
