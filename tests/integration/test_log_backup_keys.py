"""An export holds facts and keys that belong together, whatever is written between the looks at their ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from app.backup import export
from app.backup.folder import Folder
from app.backup.run import run
from app.local.kafka import KafkaServer
from projections.offsets import LogOffsets
from schemas.codec import encode_fact
from schemas.errors import StopProcess
from schemas.facts import Fact, ImagesEmbedded, JobContext, PetPurged
from schemas.pet_keys import Destroyed, PetKey, encode_key
from schemas.topics import Topics
from tests.integration.test_log_backup import SMALL, Deployment, files_of

OPEN = PetKey(key_id="k1", pet_id="rex", secret=bytes(32))
GONE = PetKey(key_id="k1", pet_id="rex", destroyed=Destroyed(purge_id="p1", last_version=3, next_cluster=1))
EMBEDDED = ImagesEmbedded(job=JobContext(job_id="j"), model="m", dimension=2)
PURGED = PetPurged(purge_id="p1", accepted_until="2026-11-21T00:00:00Z", keys=("k1",))

Write = Callable[[Fact | PetKey], Awaitable[None]]


@pytest.fixture
def live(kafka: KafkaServer, topics: Topics) -> Deployment:
    return Deployment(kafka, topics.prefix)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "export"))


@pytest.fixture
def write(live: Deployment) -> Write:
    """Writes a fact of the pet, sealed under its key, or a key."""

    async def written(what: Fact | PetKey) -> None:
        topic, key, value = live.topics.pet_keys, b"k1", b""
        if isinstance(what, PetKey):
            value = encode_key(what)
        else:
            topic, key = live.topics.pet_log, b"rex"
            value = encode_fact(what, event_id="e", time="", pet_id="rex", key=OPEN)
        producer = AIOKafkaProducer(bootstrap_servers=live.kafka.bootstrap_servers)
        await producer.start()
        await producer.send_and_wait(topic.name, value, key=key, partition=1)
        await producer.stop()

    return written


def between(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Awaitable[None]]) -> list[set[str]]:
    """Once ends have been asked for, the first time, `do`. Returns the topics of each time."""
    original, asked = LogOffsets.ends, list[set[str]]()

    async def ends(self: LogOffsets, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        found = await original(self, partitions)
        asked.append({tp.topic for tp in partitions})
        if len(asked) == 1:
            await do()
        return found

    monkeypatch.setattr(LogOffsets, "ends", ends)
    return asked


async def checked(live: Deployment, folder: Folder) -> None:
    live.out.truncate(0)
    said = await run(live.place.settings, "check", folder._root, file_bytes=SMALL, as_json=True, out=live.out)
    assert said == 0, live.out.getvalue()


async def test_a_key_and_its_fact_that_come_between_leave_no_fact_without_its_key(
    live: Deployment, folder: Folder, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def embed() -> None:
        await write(OPEN)
        await write(EMBEDDED)

    asked = between(monkeypatch, embed)
    assert (await live.export(folder)).records == 1, "the key; its fact comes with the next export"
    assert asked[1] == {live.topics.pet_keys.name}, "asked last"
    assert len(asked) == 2, "and nothing had to be asked again"
    await checked(live, folder)


@pytest.mark.parametrize("again", [False, True])
async def test_a_purge_that_comes_between_is_exported_with_the_key_that_it_destroyed(
    live: Deployment, folder: Folder, write: Write, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    async def purge() -> None:
        await write(PURGED)
        await write(GONE)

    await write(OPEN)
    await write(EMBEDDED)
    if again:
        await live.export(folder)
    asked = between(monkeypatch, purge)
    manifest = await live.export(folder)
    assert len(asked) == 4, "taken again, once"
    assert manifest.records == 3, "two facts, and what is left of the key"
    left = {name for number in range(live.partitions) for name in folder.names(f"media.pet-keys/{number}")}
    assert left == {path.rpartition("/")[2] for path in files_of(folder, manifest) if "pet-keys" in path}
    await checked(live, folder)


async def test_a_purge_that_an_export_before_holds_is_found_there(
    live: Deployment, folder: Folder, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what in (OPEN, EMBEDDED, PURGED):
        await write(what)
    await live.export(folder)
    await write(GONE)
    monkeypatch.setattr(export, "CUTS", 1)
    for _ in range(2):
        assert (await live.export(folder)).records == 3
    await checked(live, folder)


@pytest.mark.parametrize(
    ("written", "lacks"),
    [([EMBEDDED], r"key 'k1' is not there, but media.pet-log/1/0 names it"), ([GONE], r"key 'k1' was destroyed by")],
)
async def test_what_is_lost_is_named_and_nothing_is_exported(
    live: Deployment, folder: Folder, write: Write, written: list[Fact | PetKey], lacks: str
) -> None:
    for what in written:
        await write(what)
    with pytest.raises(StopProcess, match=lacks):
        await live.export(folder)
    assert folder.manifest() is None
    assert folder.names("media.pet-keys/1") == []
