"""The embed agent: reads commands from `media.jobs`, embeds their images, writes one fact per command to
`media.pet-log`.

Runs in the app `media-embed`. Commands run concurrently, so that batches form across jobs and pets; they are
acknowledged in order (agents.delivery). The order of the calls of one command:

    decode → "processing" → which images are new → fetch, decode, embed → publish the fact and dead letters
    → the broker has them → remember the images in the table → acknowledge
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec
import stamina
import structlog
from faust.types import EventT, StreamT, TopicT

from agents import known_images
from agents.dead_letters import image_record, position, send_dead_letter, unreadable_record
from agents.delivery import Delivery, Ticket
from agents.durable_table import DurableTable
from agents.images.errors import ImageError
from schemas.codec import encode_fact, fact_type
from schemas.commands import EMBED_IMAGES_TYPE, MAX_IMAGES_PER_JOB, EmbedImages, decode_command, split_images
from schemas.errors import DeadLetter, RetryLater
from schemas.facts import EmbeddedImage, FailedImage, ImagesEmbedded, JobContext
from schemas.headers import Headers, build_headers, header, timestamp
from schemas.ids import is_id, message_id
from schemas.public import JOB_STATUS_TYPE, JobStatus
from schemas.telemetry import Counter, Unmeasured

log = structlog.get_logger(__name__)
SOURCE = "/embed"
_Result = TypeVar("_Result")
MAX_REASON = 500
WHOLE_LIST = "*"
"""Stands for an image id where the list of a job that names no image could not be had."""


class EmbedImage(Protocol):
    """Turns an image id into everything that is recorded about the image."""

    async def __call__(self, image_id: str) -> EmbeddedImage:
        """Raises ImageError when it can never be embedded, RetryLater when another try may help."""
        ...


@dataclass(frozen=True)
class Model:
    """What is recorded with every vector."""

    model_id: str
    dimension: int
    device: str


@dataclass(frozen=True)
class EmbedTopics:
    """Where the agent writes."""

    jobs: TopicT
    pet_log: TopicT
    status: TopicT
    deadletter: TopicT


@dataclass
class EmbedMetrics:
    """What the agent counts."""

    embedded: Counter = field(default_factory=Unmeasured)
    known: Counter = field(default_factory=Unmeasured)
    failed: Callable[[str], Counter] = lambda kind: Unmeasured()


class EmbedAgent:
    """Embeds the images of commands. `list_images`: asks the image source which images a pet has, None when it cannot
    say.

    `clock`: the current time, with zone. `attempts`: tries of one image before it counts as failed.
    """

    def __init__(
        self,
        delivery: Delivery,
        table: DurableTable,
        topics: EmbedTopics,
        model: Model,
        *,
        embed_image: EmbedImage,
        list_images: Callable[[str], Awaitable[tuple[str, ...] | None]],
        clock: Callable[[], datetime],
        attempts: int = 5,
        metrics: EmbedMetrics | None = None,
    ) -> None:
        self._delivery = delivery
        self._table = table
        self._topics = topics
        self._model = model
        self._embed_image = embed_image
        self._list_images = list_images
        self._clock = clock
        self._attempts = attempts
        self._metrics = metrics or EmbedMetrics()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stream: StreamT[Any]) -> None:
        """The agent's body: starts a task per command; the delivery window bounds how many.

        What still runs when the body is cancelled is cancelled too, before the image pipeline closes under it: an image
        that fails because the worker stops must not be recorded as failed.
        """
        try:
            async for event in stream.noack().events():
                ticket = await self._delivery.admit(event)
                if ticket is not None:
                    task = asyncio.create_task(self._guarded(ticket))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
        finally:
            running = list(self._running)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _guarded(self, ticket: Ticket) -> None:
        """No exception leaves a command: what is not a dead letter ends the process."""
        where = position(ticket.event.message)
        try:
            await self._handle(ticket, ticket.event)
            ticket.close()
        except asyncio.CancelledError:
            raise  # the worker stops: the command is not acknowledged and read again
        except Exception as error:
            log.exception("embed_failed", source_id=where)
            self._delivery.abort(f"embedding of {where} failed: {error!r}")

    async def _handle(self, ticket: Ticket, event: EventT) -> None:
        try:
            command = decode_command(event.message.value)
        except DeadLetter as error:
            record = unreadable_record("command", event.message, str(error))
            send_dead_letter(ticket, self._topics.deadletter, record, source=SOURCE, key=event.message.key)
            log.warning("command_dead_lettered", reason=str(error), source_id=record.source_id)
            await ticket.publish()
            return
        self._send_processing(ticket, command)
        await ticket.publish()
        failed: list[FailedImage] = []
        if not command.image_ids:
            listed, failed = await self._listed(command)
            if listed:
                await self._split(ticket, command, listed)
                return
        fact = await self._embed(command, failed)
        if not ticket.current:
            return
        self._send_fact(ticket, command, fact)
        for dead in fact.failed:
            self._send_dead_image(ticket, command, dead)
        published, *_ = await ticket.publish()
        await published
        if ticket.current:
            ticket.put(self._table, known_images.records(command.pet_id, fact.images, self._model.model_id))
            await ticket.publish()

    async def _listed(self, command: EmbedImages) -> tuple[tuple[str, ...], list[FailedImage]]:
        """The pet's images according to the source, for a job that names none; nothing when it keeps no list."""
        try:
            listed = await self._retrying(self._list_images, command.pet_id) or ()
        except (RetryLater, DeadLetter) as error:
            return (), [FailedImage(WHOLE_LIST, "list_unavailable", str(error)[:MAX_REASON])]
        usable = tuple(dict.fromkeys(image_id for image_id in listed if is_id(image_id)))[:MAX_IMAGES_PER_JOB]
        if len(usable) < len(listed):
            log.warning("listed_images_ignored", pet_id=command.pet_id, listed=len(listed), usable=len(usable))
        return usable, []

    async def _split(self, ticket: Ticket, command: EmbedImages, image_ids: tuple[str, ...]) -> None:
        """Publish the commands that stand for one that named no image; they settle the job in its place."""
        for part in split_images(command, image_ids):
            headers = self._headers(
                ticket, EMBED_IMAGES_TYPE, "job", part.pet_id, part.job_id, part.part, part.attempt, "listed"
            )
            ticket.send(self._topics.jobs, key=part.pet_id.encode(), value=msgspec.json.encode(part), headers=headers)
        await ticket.publish()

    async def _embed(self, command: EmbedImages, failed: list[FailedImage]) -> ImagesEmbedded:
        """The fact that answers `command`."""
        known: tuple[str, ...] = ()
        if not command.force:
            known = known_images.known_among(self._table.get, command.pet_id, command.image_ids, self._model.model_id)
        new = [image_id for image_id in command.image_ids if image_id not in set(known)]
        results = await asyncio.gather(*(self._try_image(image_id) for image_id in new))
        images = tuple(r for r in results if isinstance(r, EmbeddedImage))
        self._metrics.embedded.inc(len(images))
        self._metrics.known.inc(len(known))
        return ImagesEmbedded(
            job=job_context(command),
            model=self._model.model_id,
            dimension=self._model.dimension,
            device=self._model.device,
            images=images,
            known=known,
            failed=(*failed, *(r for r in results if isinstance(r, FailedImage))),
        )

    async def _try_image(self, image_id: str) -> EmbeddedImage | FailedImage:
        try:
            return await self._retrying(self._embed_image, image_id)
        except ImageError as error:
            failure = FailedImage(image_id, error.kind, error.reason[:MAX_REASON])
        except RetryLater as error:
            failure = FailedImage(image_id, "unavailable", str(error)[:MAX_REASON])
        self._metrics.failed(failure.kind).inc()
        return failure

    async def _retrying(self, call: Callable[[str], Awaitable[_Result]], argument: str) -> _Result:
        """Tries again while the source is away. The command keeps its place meanwhile, so that nothing piles up."""
        retrying = stamina.AsyncRetryingCaller(attempts=self._attempts, wait_initial=0.5, wait_max=10.0, timeout=None)
        return await retrying(RetryLater, call, argument)

    def _send_processing(self, ticket: Ticket, command: EmbedImages) -> None:
        now = timestamp(self._clock())
        status = JobStatus(
            pet_id=command.pet_id, job_id=command.job_id, status="processing", at=now, attempt=command.attempt
        )
        headers = self._headers(
            ticket,
            JOB_STATUS_TYPE,
            "status",
            command.pet_id,
            command.job_id,
            command.attempt,
            "processing",
            command.part,
        )
        ticket.send(
            self._topics.status, key=command.pet_id.encode(), value=msgspec.json.encode(status), headers=headers
        )

    def _send_fact(self, ticket: Ticket, command: EmbedImages, fact: ImagesEmbedded) -> None:
        identity = message_id("embedded", command.pet_id, command.job_id, command.part, command.attempt)
        now = timestamp(self._clock())
        traceparent = header(ticket.event.message.headers, "traceparent")
        headers = build_headers(
            event_id=identity, event_type=fact_type(fact), source=SOURCE, time=now, traceparent=traceparent
        )
        value = encode_fact(fact, event_id=identity, time=now, pet_id=command.pet_id)
        ticket.send(self._topics.pet_log, key=command.pet_id.encode(), value=value, headers=headers)

    def _send_dead_image(self, ticket: Ticket, command: EmbedImages, dead: FailedImage) -> None:
        message = ticket.event.message
        cause = (command.pet_id, command.job_id, command.part, command.attempt, dead.image_id)
        record = image_record(message, command, dead)
        send_dead_letter(ticket, self._topics.deadletter, record, source=SOURCE, key=message.key, cause=cause)

    def _headers(self, ticket: Ticket, event_type: str, *cause: object) -> Headers:
        return build_headers(
            event_id=message_id(*cause),
            event_type=event_type,
            source=SOURCE,
            time=timestamp(self._clock()),
            traceparent=header(ticket.event.message.headers, "traceparent"),
        )


def job_context(command: EmbedImages) -> JobContext:
    """What a fact repeats of the command that it answers."""
    return JobContext(
        job_id=command.job_id,
        part=command.part,
        parts=command.parts,
        attempt=command.attempt,
        reason=command.reason,
        force=command.force,
        labels=command.labels,
        coverage=command.coverage,
        quality_score=command.quality_score,
        enqueued_at=command.enqueued_at,
    )
