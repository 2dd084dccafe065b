"""The embed agent: reads commands from `media.jobs`, embeds their images, writes one fact per command to
`media.pet-log`.

Runs in the app `media-embed`. Commands run concurrently, so that batches form across jobs and pets; they are
acknowledged in order (agents.delivery). The order of the calls of one command:

    decode → "processing" → which images are new → fetch, decode, embed → publish the fact
    → publish dead letters and the retry → the broker has them → remember the images in the table → acknowledge

An image that may succeed later does not hold the others up: the fact names it as pending, and a retry command carries
it alone, to a topic where it waits for its time (`bridges.retries`). Purges: agents.pet_purge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog
from faust.types import EventT, StreamT

from agents import known_images
from agents.delivery import Delivery, Ticket
from agents.durable_table import DurableTable
from agents.embed_outputs import EmbedOutputs
from agents.embed_purge import answer_purge
from agents.images.errors import ImageError
from agents.images.fail_fast import asked_anyway
from agents.insights import told
from agents.pet_purge import PurgeMark, Purging, is_dropped, mark_of
from agents.sealing_keys import SealingKeys
from schemas.commands import MAX_IMAGES_PER_JOB, EmbedImages, PurgePet, decode_request
from schemas.errors import DeadLetter, RetryLater
from schemas.facts import WHOLE_LIST, EmbeddedImage, FailedImage, ImagesEmbedded, JobContext
from schemas.ids import is_id
from schemas.telemetry import Counter, Unmeasured
from schemas.topics import position_of

log = structlog.get_logger(__name__)
MAX_REASON: Final = 500


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


@dataclass
class EmbedMetrics:
    """What the agent counts."""

    embedded: Counter = field(default_factory=Unmeasured)
    known: Counter = field(default_factory=Unmeasured)
    pending: Counter = field(default_factory=Unmeasured)
    failed: Callable[[str], Counter] = lambda kind: Unmeasured()


@dataclass(frozen=True)
class _Later:
    """An image that another try may help, and why this one did not."""

    image_id: str
    reason: str


_Outcome = EmbeddedImage | FailedImage | _Later


class EmbedAgent:
    """Embeds the images of commands. `list_images`: asks the image source which images a pet has, None when it cannot
    say. `attempts`: tries of one image before it counts as failed; the first counts.
    """

    def __init__(
        self,
        delivery: Delivery,
        table: DurableTable,
        outputs: EmbedOutputs,
        model: Model,
        *,
        embed_image: EmbedImage,
        list_images: Callable[[str], Awaitable[tuple[str, ...] | None]],
        keys: SealingKeys,
        attempts: int = 5,
        metrics: EmbedMetrics | None = None,
    ) -> None:
        self._delivery = delivery
        self._table = table
        self._outputs = outputs
        self._model = model
        self._embed_image = embed_image
        self._list_images = list_images
        self._keys = keys
        self._purging = Purging()
        self._attempts = attempts
        self._metrics = metrics or EmbedMetrics()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stream: StreamT[Any]) -> None:
        """The agent's body: starts a task per command; the delivery window bounds their images.

        What still runs when the body is cancelled is cancelled too, before the image pipeline closes under it: an image
        that fails because the worker stops must not be recorded as failed.
        """
        try:
            async for event in stream.noack().events():
                command = _decode(event)
                images = len(command.image_ids) if isinstance(command, EmbedImages) else 0
                ticket = await self._delivery.admit(event, weight=max(1, images))
                if ticket is not None:
                    task = asyncio.create_task(self._in_turn(ticket, command))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)
        finally:
            running = list(self._running)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _in_turn(self, ticket: Ticket, command: EmbedImages | PurgePet | DeadLetter) -> Coroutine[Any, Any, None]:
        """What handles the command; called as it is read, so that it waits for the purges of its pet before it."""
        if isinstance(command, DeadLetter):
            return self._guarded(ticket, command, None, None)
        before = self._purging.before(command.pet_id)
        done = self._purging.begin(command.pet_id) if isinstance(command, PurgePet) else None
        return self._guarded(ticket, command, before, done)

    async def _guarded(
        self,
        ticket: Ticket,
        command: EmbedImages | PurgePet | DeadLetter,
        before: asyncio.Event | None,
        done: asyncio.Event | None,
    ) -> None:
        """No exception leaves a command: what is not a dead letter ends the process."""
        where = position_of(ticket.event.message)
        try:
            if isinstance(command, DeadLetter):
                log.warning("command_dead_lettered", reason=str(command), source_id=where)
                self._outputs.unreadable(ticket, str(command))
                await ticket.publish()
                ticket.close()
                return
            if before is not None:
                await before.wait()
            if isinstance(command, PurgePet):
                await answer_purge(ticket, command, self._table, self._outputs, self._keys)
            else:
                await self._handle(ticket, command)
            ticket.close()
        except asyncio.CancelledError:
            raise  # the worker stops: the command is not acknowledged and read again
        except Exception as error:
            log.exception("embed_failed", source_id=where)
            self._delivery.abort(f"embedding of {where} failed: {error!r}")
        finally:
            if done is not None and isinstance(command, PurgePet):
                self._purging.end(command.pet_id, done)

    async def _handle(self, ticket: Ticket, command: EmbedImages) -> None:
        mark = mark_of(self._table.get, command.pet_id)  # as long as this command runs, a purge behind it waits
        if is_dropped(mark, command.enqueued_at):
            log.info("command_of_purged_pet_dropped", source_id=position_of(ticket.event.message))
            return
        self._outputs.processing(ticket, command)
        await ticket.publish()
        known: tuple[str, ...] = ()
        if command.image_ids:
            known = self._known(command)
            new = [image_id for image_id in command.image_ids if image_id not in set(known)]
            with self._last_try(command):
                outcomes: list[_Outcome] = list(await asyncio.gather(*map(self._try_image, new)))
        else:
            with self._last_try(command):
                listed = await self._listed(command)
            if isinstance(listed, tuple):
                self._outputs.parts(ticket, command, listed)
                await ticket.publish()
                return
            outcomes = [] if listed is None else [listed]
        if ticket.current:
            await self._answer(ticket, command, self._fact(command, known, outcomes), mark)

    async def _answer(self, ticket: Ticket, command: EmbedImages, fact: ImagesEmbedded, mark: PurgeMark | None) -> None:
        """Publish the fact, and behind it what follows from it: a try never overtakes the one before."""
        key = await self._keys.current(
            command.pet_id, mark, self._outputs.now(), lambda key: self._outputs.key(ticket, key)
        )
        if not ticket.current:
            return
        self._outputs.fact(ticket, command, fact, key)
        published, *_ = await ticket.publish()
        await published
        if not ticket.current:
            return
        for dead in fact.failed:
            self._outputs.dead_image(ticket, command, dead)
        if fact.pending:
            self._outputs.retry(ticket, command, tuple(i for i in fact.pending if i != WHOLE_LIST))
        ticket.put(self._table, known_images.records(command.pet_id, fact.images, self._model.model_id))
        await ticket.publish()

    def _known(self, command: EmbedImages) -> tuple[str, ...]:
        """The command's images that the log has already; a forced job and a requeued one do not ask."""
        if command.force or command.run > 1:
            return ()
        return known_images.known_among(self._table.get, command.pet_id, command.image_ids, self._model.model_id)

    async def _listed(self, command: EmbedImages) -> tuple[str, ...] | FailedImage | _Later | None:
        """The pet's images according to the source, for a job that names none; None when it keeps no list of any."""
        try:
            listed = await self._list_images(command.pet_id) or ()
        except RetryLater as error:
            return _Later(WHOLE_LIST, str(error)[:MAX_REASON])
        except DeadLetter as error:
            return FailedImage(WHOLE_LIST, "list_unavailable", str(error)[:MAX_REASON])
        usable = tuple(dict.fromkeys(image_id for image_id in listed if is_id(image_id)))[:MAX_IMAGES_PER_JOB]
        if len(usable) < len(listed):
            log.warning("listed_images_ignored", pet_id=command.pet_id, listed=len(listed), usable=len(usable))
        return usable or None

    def _last_try(self, command: EmbedImages) -> AbstractContextManager[None]:
        """What is not even asked for on the last try would be given up unasked."""
        return asked_anyway() if command.attempt >= self._attempts else nullcontext()

    async def _try_image(self, image_id: str) -> _Outcome:
        try:
            return await self._embed_image(image_id)
        except ImageError as error:
            return FailedImage(image_id, error.kind, error.reason[:MAX_REASON])
        except RetryLater as error:
            return _Later(image_id, str(error)[:MAX_REASON])
        finally:
            self._delivery.note_progress()

    def _fact(self, command: EmbedImages, known: tuple[str, ...], outcomes: list[_Outcome]) -> ImagesEmbedded:
        """The fact that answers `command`. On the last try, what may succeed later has failed."""
        images = tuple(told(o, command.insights.get(o.image_id)) for o in outcomes if isinstance(o, EmbeddedImage))
        failed = [o for o in outcomes if isinstance(o, FailedImage)]
        later = [o for o in outcomes if isinstance(o, _Later)]
        if command.attempt >= self._attempts:
            failed += [FailedImage(o.image_id, _unavailable(o), o.reason) for o in later]
            later = []
        for failure in failed:
            self._metrics.failed(failure.kind).inc()
        if later:
            log.info("images_pending", job=command.job, attempt=command.attempt, images=len(later), why=later[0].reason)
        self._metrics.embedded.inc(len(images))
        self._metrics.known.inc(len(known))
        self._metrics.pending.inc(len(later))
        return ImagesEmbedded(
            job=job_context(command),
            model=self._model.model_id,
            dimension=self._model.dimension,
            device=self._model.device,
            images=images,
            known=known,
            failed=tuple(failed),
            pending=tuple(o.image_id for o in later),
        )


def _unavailable(later: _Later) -> str:
    return "list_unavailable" if later.image_id == WHOLE_LIST else "unavailable"


def _decode(event: EventT) -> EmbedImages | PurgePet | DeadLetter:
    try:
        return decode_request(event.message.value)
    except DeadLetter as error:
        return error


def job_context(command: EmbedImages) -> JobContext:
    """What a fact repeats of the command that it answers."""
    return JobContext(
        job_id=command.job_id,
        part=command.part,
        parts=command.parts,
        attempt=command.attempt,
        run=command.run,
        requeue=command.requeue,
        reason=command.reason,
        force=command.force,
        labels=command.labels,
        coverage=command.coverage,
        quality_score=command.quality_score,
        enqueued_at=command.enqueued_at,
    )
