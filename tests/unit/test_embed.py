"""The embed agent: the order of its calls, against a source, topics and a table that only record what is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from agents.delivery import Delivery
from agents.embed import EmbedAgent, Model
from agents.embed_outputs import JITTER, EmbedOutputs, EmbedTopics
from agents.images.errors import ImageError
from agents.images.fail_fast import FailFast
from agents.known_images import key_of
from agents.sealing_keys import SealingKeys
from schemas.codec import decode_fact
from schemas.commands import EmbedImages, PurgePet, decode_command
from schemas.errors import RetryLater
from schemas.facts import WHOLE_LIST, EmbeddedImage, ImagesEmbedded, Quality
from schemas.headers import RETRY_DUE, header, timestamp
from schemas.insights import Insight
from schemas.pet_keys import PetKey, decode_key
from schemas.public import DeadLetterRecord
from tests.unit.test_delivery import FakeApp, FakeMessage, abort

NOW = datetime(2026, 11, 21, tzinfo=UTC)


DELAYS = (5.0, 60.0, 600.0)
TOPICS = ("jobs", "pet_log", "pet_keys", "status", "deadletter")


class Topic:
    """Acknowledges at once, or when the test says so."""

    def __init__(self, journal: list[str], name: str) -> None:
        self.journal, self.name = journal, name
        self.values: list[bytes] = []
        self.headers: list[Any] = []
        self.hold: asyncio.Future[None] | None = None

    def as_future_message(
        self, *, key: bytes | None, value: bytes, headers: Any, partition: int | None = None
    ) -> bytes:
        self.headers.append(headers)
        return value

    async def publish_message(self, message: bytes, wait: bool = False) -> asyncio.Future[None]:
        self.values.append(message)
        self.journal.append(self.name)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.hold is None:
            future.set_result(None)
            return future
        return self.hold


class Table(dict[bytes, bytes]):
    """A dict that queues its puts as the durable table does."""

    def __init__(self, journal: list[str]) -> None:
        super().__init__()
        self.changelog_topic = Topic(journal, "changelog")
        self._puts: list[bytes] = []

    def __setitem__(self, key: bytes, value: bytes) -> None:
        super().__setitem__(key, value)
        self._puts.append(key)

    def __delitem__(self, key: bytes) -> None:
        super().__delitem__(key)
        self._puts.append(key)

    def keys_with(self, _partition: int, prefix: bytes) -> list[bytes]:
        return sorted(key for key in self if key.startswith(prefix))

    def take_unpublished(self) -> list[bytes]:
        puts, self._puts = self._puts, []
        return puts


@dataclass
class Message(FakeMessage):
    key: bytes = b"rex"
    value: bytes = b""
    headers: Any = ()
    timestamp: float = 0.0
    topic: str = "jobs"
    partition: int = 0


@dataclass
class Event:
    message: Message
    acks: list[int]

    def ack(self) -> None:
        self.acks.append(self.message.offset)


class Keyring:
    """Keys that this worker has made, and those that `elsewhere` another has, which a refresh finds."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.known: list[PetKey] = []
        self.elsewhere: list[PetKey] = []

    async def refresh(self) -> None:
        self.known += self.elsewhere
        self.elsewhere = []

    def of_pet(self, pet_id: str) -> list[PetKey]:
        return [key for key in self.known if key.pet_id == pet_id]

    def add(self, key: PetKey) -> None:
        assert key in map(decode_key, self.topic.values), "known only once it is written"
        self.known.append(key)

    def find(self, key_id: str) -> PetKey:
        return next(key for key in self.known if key.key_id == key_id)


class Rig:
    """An agent with its surroundings; `images` says what each image id gives: an exception, or nothing for success."""

    def __init__(self, listed: tuple[str, ...] | Exception | None = None) -> None:
        self.journal: list[str] = []
        self.images: dict[str, list[Exception]] = {}
        self.exif: dict[str, str] = {}
        self.asked: list[str] = []
        self.listed = listed
        self.acks: list[int] = []
        self.app = FakeApp()
        self.table = Table(self.journal)
        self.topics = {name: Topic(self.journal, name) for name in TOPICS}
        self.topics["pet_keys"].hold = done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        self.keys = Keyring(self.topics["pet_keys"])
        self.tiers = [Topic(self.journal, f"retry{tier}") for tier in (1, 2, 3)]
        topics = EmbedTopics(**self.topics, retries=self.tiers)
        self.agent = EmbedAgent(
            Delivery(self.app, abort=abort, contiguous=False),
            self.table,  # type: ignore[arg-type]
            EmbedOutputs(topics, clock=lambda: NOW, retry_delays=DELAYS, spread=lambda: 0.5),
            Model("m@1", 4, "cpu"),
            embed_image=self.embed_image,
            list_images=self.list_images,
            keys=SealingKeys(self.keys),
        )

    async def embed_image(self, image_id: str) -> EmbeddedImage:
        self.asked.append(image_id)
        await asyncio.sleep(0)
        if self.images.get(image_id):
            raise self.images[image_id].pop(0)
        return EmbeddedImage(image_id, b"\x00\x10" + bytes(6), Quality(), taken_at=self.exif.get(image_id, ""))

    async def list_images(self, _pet_id: str) -> tuple[str, ...] | None:
        if isinstance(self.listed, Exception):
            raise self.listed
        return self.listed

    async def run(self, *commands: EmbedImages | PurgePet | bytes) -> None:
        """Handle the commands; returns when all are settled or nothing moves any more."""
        events = [
            Event(Message(n, value=c if isinstance(c, bytes) else msgspec.json.encode(c)), self.acks)
            for n, c in enumerate(commands)
        ]
        body = asyncio.create_task(self.agent.run(_Stream(events)))
        for _ in range(200):
            await asyncio.sleep(0)
        body.cancel()
        await asyncio.gather(body, return_exceptions=True)

    def facts(self) -> list[ImagesEmbedded]:
        found = [decode_fact(value, self.keys)[1] for value in self.topics["pet_log"].values]
        assert all(isinstance(fact, ImagesEmbedded) for fact in found)
        return found  # type: ignore[return-value]


class _Stream:
    def __init__(self, events: list[Event]) -> None:
        self._events = events

    def noack(self) -> _Stream:
        return self

    async def events(self) -> AsyncIterator[Event]:
        for event in self._events:
            yield event
        await asyncio.Event().wait()  # a stream does not end


def command(*image_ids: str, job_id: str = "j", **fields: Any) -> EmbedImages:
    return EmbedImages(pet_id="rex", job_id=job_id, image_ids=image_ids, job_images=len(image_ids), **fields)


async def test_an_image_is_remembered_only_after_the_log_has_its_vector() -> None:
    rig = Rig()
    rig.topics["pet_log"].hold = asyncio.get_running_loop().create_future()
    await rig.run(command("a"))
    assert rig.journal == ["status", "pet_keys", "pet_log"]
    assert (rig.table, rig.acks) == ({}, [])
    again = Rig()
    await again.run(command("a"))
    assert again.journal == ["status", "pet_keys", "pet_log", "changelog"]
    assert (list(again.table), again.acks) == ([key_of("rex", "a")], [0])


async def test_known_images_are_not_fetched_again_unless_forced() -> None:
    rig = Rig()
    await rig.run(command("a", "b"), command("a", "b", job_id="k"))
    await rig.run(command("a", "c", job_id="l"), command("b", job_id="m", force=True))
    assert rig.asked[-2:] == ["c", "b"]
    assert [(len(f.images), f.known) for f in rig.facts()[-2:]] == [(1, ("a",)), (1, ())]


async def test_a_bad_image_fails_alone_and_is_dead_lettered_once() -> None:
    rig = Rig()
    rig.images["b"] = [ImageError("not_an_image", "cannot identify")]
    await rig.run(command("a", "b"))
    (fact,) = rig.facts()
    assert ([i.image_id for i in fact.images], [(f.image_id, f.kind) for f in fact.failed]) == (
        ["a"],
        [("b", "not_an_image")],
    )
    assert len(rig.topics["deadletter"].values) == 1
    assert rig.acks == [0]


async def test_an_image_that_may_succeed_later_holds_up_no_other_and_is_retried_alone() -> None:
    rig = Rig()
    rig.images["b"] = [RetryLater("503")]
    await rig.run(command("a", "b", "c"))
    (fact,) = rig.facts()
    assert ([i.image_id for i in fact.images], fact.pending, fact.failed) == (["a", "c"], ("b",), ())
    retry = decode_command(rig.tiers[0].values[0])
    assert (retry.image_ids, retry.attempt, retry.part, retry.job_images) == (("b",), 2, 1, 3)
    due = NOW + timedelta(seconds=DELAYS[0] * (1 + JITTER / 2))
    assert header(rig.tiers[0].headers[0], RETRY_DUE) == timestamp(due)
    assert header(rig.tiers[0].headers[0], "ce_id") == retry.id
    assert rig.acks == [0]
    await rig.run(retry)
    assert [f.job.attempt for f in rig.facts()] == [1, 2]
    assert (rig.facts()[1].pending, rig.topics["deadletter"].values) == ((), [])


async def test_what_is_said_of_an_image_stands_with_it_in_the_log_also_after_a_retry() -> None:
    rig = Rig()
    rig.images["b"] = [RetryLater("503")]
    said = {
        "a": Insight(quality_score=0.5, taken_at="2026-05-01T09:00:00+02:00"),
        "b": Insight(pose="frontal", label="Portraits", taken_at="2026-05-01T09:00:00.25"),
    }
    rig.exif["b"] = "2020-01-01T00:00:00"
    await rig.run(command("a", "b", "c", insights=said))
    retry = decode_command(rig.tiers[0].values[0])
    assert (retry.image_ids, retry.insights) == (("b",), {"b": said["b"]})
    await rig.run(retry)
    found = {image.image_id: (image.insight, image.taken_at) for fact in rig.facts() for image in fact.images}
    assert found == {
        "a": (said["a"], "2026-05-01T09:00:00"),  # the caller's time, as the clock beside the camera showed it
        "b": (said["b"], "2020-01-01T00:00:00"),
        "c": (None, ""),
    }


async def test_a_retry_is_sent_only_when_the_log_has_the_try_before() -> None:
    rig = Rig()
    rig.topics["pet_log"].hold = asyncio.get_running_loop().create_future()
    rig.images["a"] = [RetryLater("503")]
    await rig.run(command("a"))
    assert rig.journal == ["status", "pet_keys", "pet_log"]


class Source:
    """Away until the test says otherwise."""

    max_bytes = 1
    away = True

    async def fetch(self, image_id: str) -> bytes:
        if self.away:
            raise RetryLater("503")
        return image_id.encode()

    async def list_images(self, pet_id: str) -> tuple[str, ...] | None:
        return (await self.fetch(pet_id)).decode(), "b"


class PausedRig(Rig):
    """A rig whose source has failed so often that it is left alone for a while, though it would answer again."""

    async def close(self) -> None:
        inner = Source()
        self.source = FailFast(inner, failures=1, clock=lambda: 0.0)
        with pytest.raises(RetryLater, match="503"):
            await self.source.fetch("any")
        inner.away = False

    async def embed_image(self, image_id: str) -> EmbeddedImage:
        await self.source.fetch(image_id)
        return await super().embed_image(image_id)

    async def list_images(self, pet_id: str) -> tuple[str, ...] | None:
        return await self.source.list_images(pet_id)


@pytest.mark.parametrize(("attempt", "embedded", "pending"), [(4, [], ("a", "b")), (5, ["a", "b"], ())])
async def test_the_last_try_asks_a_source_that_is_left_alone(
    attempt: int, embedded: list[str], pending: tuple[str, ...]
) -> None:
    rig = PausedRig()
    await rig.close()
    await rig.run(EmbedImages(pet_id="rex", job_id="j", image_ids=("a", "b"), attempt=attempt))
    (fact,) = rig.facts()
    assert [image.image_id for image in fact.images] == embedded
    assert (fact.pending, fact.failed) == (pending, ())


@pytest.mark.parametrize(("attempt", "listed"), [(4, False), (5, True)])
async def test_the_last_try_asks_for_a_list_too(attempt: int, listed: bool) -> None:
    rig = PausedRig()
    await rig.close()
    await rig.run(EmbedImages(pet_id="rex", job_id="j", attempt=attempt))
    assert bool(rig.topics["jobs"].values) is listed
    assert [fact.pending for fact in rig.facts()] == ([] if listed else [(WHOLE_LIST,)])


async def test_tries_go_up_the_tiers_and_the_last_one_is_dead_lettered() -> None:
    rig = Rig()
    rig.images["a"] = [RetryLater("503")] * 5
    tried, tiers = command("a"), []
    for _ in range(5):
        await rig.run(tried)
        waiting = [(n, tier.values.pop()) for n, tier in enumerate(rig.tiers) if tier.values]
        tiers += [n for n, _ in waiting]
        tried = decode_command(waiting[0][1]) if waiting else tried
    assert tiers == [0, 1, 2, 2]
    assert [(f.pending, [x.kind for x in f.failed]) for f in rig.facts()] == [(("a",), [])] * 4 + [
        ((), ["unavailable"])
    ]
    letter = msgspec.json.decode(rig.topics["deadletter"].values[0], type=DeadLetterRecord)
    assert (letter.attempts, letter.kind, letter.reason) == (5, "unavailable", "503")


async def test_an_image_has_one_dead_letter_in_a_run_whichever_try_gives_it_up() -> None:
    """Killed behind the retry of try 1, the command is read again: now it refuses the image, and so does try 2."""
    rig = Rig()
    rig.images["a"] = [RetryLater("503"), ImageError("not_found", "404"), ImageError("not_found", "404")]
    await rig.run(command("a"))
    retry = decode_command(rig.tiers[0].values[0])
    await rig.run(command("a"))
    await rig.run(retry)
    rig.images["a"] = [ImageError("not_found", "404")] * 2
    await rig.run(command("a", run=2, requeue="0" * 16))
    await rig.run(command("a", run=2, requeue="1" * 16))
    attempts = [msgspec.json.decode(value)["attempts"] for value in rig.topics["deadletter"].values]
    assert attempts == [1, 2, 1, 1]
    first, again, *requeued = (header(each, "ce_id") for each in rig.topics["deadletter"].headers)
    assert first == again
    assert len({first, *requeued}) == 3


async def test_a_requeued_run_does_not_trust_what_is_known() -> None:
    rig = Rig()
    await rig.run(command("a"))
    await rig.run(command("a", run=2, requeue="0" * 16))
    assert rig.asked == ["a", "a"]
    assert [f.job.key for f in rig.facts()] == ["j", f"j#2.{'0' * 16}"]


async def test_a_list_that_cannot_be_had_is_asked_for_again_and_fails_in_the_end() -> None:
    rig = Rig(RetryLater("503"))
    await rig.run(command())
    assert rig.facts()[0].pending == (WHOLE_LIST,)
    retry = decode_command(rig.tiers[0].values[0])
    assert (retry.image_ids, retry.attempt) == ((), 2)
    await rig.run(command(attempt=5, job_id="k"))
    assert [f.kind for f in rig.facts()[1].failed] == ["list_unavailable"]


async def test_a_job_that_names_no_image_becomes_commands_for_those_that_are_listed() -> None:
    listed = (*(f"i{n}" for n in range(70)), "i1", "bad/id", "", "x" * 129)
    rig = Rig(listed)
    await rig.run(command())
    parts = [decode_command(value) for value in rig.topics["jobs"].values]
    assert [(p.part, p.parts, len(p.image_ids), p.job_images) for p in parts] == [(1, 2, 64, 70), (2, 2, 6, 70)]
    assert (rig.facts(), rig.acks) == ([], [0])


@pytest.mark.parametrize("listed", [None, (), ("bad/id",)])
async def test_a_job_that_names_no_image_and_has_none_listed_is_answered(listed: tuple[str, ...] | None) -> None:
    rig = Rig(listed)
    await rig.run(command())
    assert [(f.images, f.failed) for f in rig.facts()] == [((), ())]


async def test_a_command_that_cannot_be_read_is_dead_lettered_and_the_next_is_served() -> None:
    rig = Rig()
    await rig.run(b"[1,2]", command("a"))
    assert len(rig.topics["deadletter"].values) == 1
    assert (len(rig.facts()), rig.acks) == (1, [0, 1])


async def test_a_worker_that_stops_in_mid_command_records_no_failure() -> None:
    rig = Rig()
    stopping = asyncio.Event()

    async def stopped(image_id: str) -> EmbeddedImage:
        try:
            await asyncio.Event().wait()
        finally:
            stopping.set()
        raise RetryLater(f"{image_id}: the batcher is not running")

    rig.agent._embed_image = stopped
    await rig.run(command("a"))
    assert stopping.is_set()
    assert (rig.facts(), rig.topics["deadletter"].values, rig.acks) == ([], [], [])


async def test_a_command_of_an_older_generation_has_no_effect() -> None:
    rig = Rig()

    async def rebalanced(image_id: str) -> EmbeddedImage:
        rig.app.consumer_generation_id = 2
        return EmbeddedImage(image_id, bytes(8), Quality())

    rig.agent._embed_image = rebalanced
    await rig.run(command("a"))
    assert (rig.facts(), rig.table, rig.acks) == ([], {}, [])
