"""The policy in a terminal: show what is in force, change it, have pets folded anew. Run by `app.commands.policy`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TextIO

import click
import msgspec
from aiokafka import TopicPartition
from rich.console import Console
from rich.table import Table

from app.away import stores_told
from app.clients import create_producer, open_pool, stop_producer
from app.partition_facts import write_partition_fact
from app.partitions import log_partitions
from app.policy.change import Change, event_id, planned
from app.policy.in_force import InForce, agree, policies_in_force
from app.policy.recluster import SOURCE, Reclusters, pets_behind
from app.policy.request import Request
from app.progress import Display
from app.settings import Settings
from schemas.errors import InvalidInput
from schemas.facts import PolicyChanged

PIPE_WIDTH: Final = 240
_IN_TABLE: Final = ("policy_id", "engine", "engine_version", "join", "merge")
AGAIN: Final = "run the same again, a repeat changes nothing"


async def run(settings: Settings, request: Request, out: TextIO) -> int:
    """Do what was asked and print it; returns the exit code. Raises UsageError for a policy that cannot be, Abort when
    the operator says no, StopProcess and the stores' errors.
    """
    work = _Work(settings, request, out)
    with stores_told(settings, f"; {AGAIN}"):
        return await work.work()


class _Work:
    def __init__(self, settings: Settings, request: Request, out: TextIO) -> None:
        self._settings = settings
        self._request = request
        self._out = out
        self._display = Display(out, as_json=request.as_json)
        self._topic = settings.topics().pet_log.name

    async def work(self) -> int:
        async with contextlib.AsyncExitStack() as opened:
            log = log_partitions(self._settings.kafka_bootstrap_servers, self._topic)
            consumer, partitions = await opened.enter_async_context(log)
            found = await policies_in_force(consumer, self._topic, partitions, self._display)
            if self._request.wanted is not None:
                change = self._planned(found)
                if change.behind:
                    self._confirm(change)
                    producer = await opened.enter_async_context(_producer(self._settings))
                    await self._write(producer, change)
                    # Read again: another operator may have written beside this one.
                    found = await policies_in_force(consumer, self._topic, partitions, self._display)
                elif not self._request.as_json:
                    self._display.say("nothing to change")
            self._show(found)
            if not agree(found):
                return 1
            if self._request.recluster:
                producer = await opened.enter_async_context(_producer(self._settings))
                await self._recluster(producer, found)
        return 0

    def _planned(self, found: Sequence[InForce]) -> Change:
        assert self._request.wanted is not None
        try:
            return planned(found, self._request.wanted)
        except InvalidInput as error:
            raise click.UsageError(f"--set: {error}") from None

    def _confirm(self, change: Change) -> None:
        """Show what would change. Raises Abort when the operator does not want it."""
        if self._request.as_json:
            return
        table = Table("field", "now", "then")
        for name, (before, after) in change.fields().items():
            table.add_row(name, ", ".join(map(str, before)), str(after))
        Console(file=self._out, highlight=False).print(table)
        if not self._request.yes:
            click.confirm(f"put it into force on {len(change.behind)} partitions?", abort=True)

    async def _write(self, producer: Any, change: Change) -> None:
        for behind in change.behind:
            partition = TopicPartition(self._topic, behind.partition)
            fact, identity = PolicyChanged(policy=change.policy), event_id(change, behind, self._topic)
            await write_partition_fact(producer, partition, fact, event_id=identity, source=SOURCE)
            self._display.say("written", partition=behind.partition, policy_id=change.policy.policy_id)

    async def _recluster(self, producer: Any, found: Sequence[InForce]) -> None:
        request, pets = self._request, list(self._request.pets)
        if not pets:
            async with open_pool(self._settings) as pool:
                pets = await pets_behind(pool, request.after)
        by_partition = {each.partition: each for each in found}
        work = Reclusters(producer, self._topic, by_partition, request.rate, request.run)
        try:
            await work.send(pets, self._display)
        finally:
            sent = pets[: work.confirmed]
            self._display.say("asked for", pets=len(sent), of=len(pets), up_to=sent[-1] if sent else "")

    def _show(self, found: Sequence[InForce]) -> None:
        if self._request.as_json:
            for each in found:
                policy = msgspec.structs.asdict(each.policy)
                self._display.say("in force", partition=each.partition, since=each.since, time=each.time, policy=policy)
            self._display.say("compared", agree=agree(found))
            return
        console = Console(file=self._out, highlight=False, width=None if self._out.isatty() else PIPE_WIDTH)
        console.print(_table(found))
        fields = msgspec.structs.asdict(found[0].policy)
        rest = ", ".join(f"{name} {value}" for name, value in fields.items() if name not in _IN_TABLE)
        said = f"all partitions agree: {rest}" if agree(found) else "the partitions do not agree"
        console.print(said, soft_wrap=True)


def _table(found: Sequence[InForce]) -> Table:
    table = Table("partition", "policy", "engine", "join", "merge", "since offset", "written at")
    for each in found:
        policy = each.policy
        engine, since = f"{policy.engine} {policy.engine_version}", str(each.since) if each.time else "the beginning"
        thresholds = (f"{policy.join:g}", f"{policy.merge:g}")
        table.add_row(str(each.partition), policy.policy_id, engine, *thresholds, since, each.time)
    return table


@asynccontextmanager
async def _producer(settings: Settings) -> AsyncIterator[Any]:
    producer = create_producer(settings, "media-policy")
    try:
        await producer.start()
        yield producer
    finally:
        await stop_producer(producer)
