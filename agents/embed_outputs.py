"""What the embed agent publishes for a command. Every message's id comes from the command, so a repeat has the same.

Used by `agents.embed`; each method queues on the command's ticket and publishes nothing itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
from faust.types import TopicT

from agents.dead_letters import image_record, send_dead_letter, unreadable_record
from agents.delivery import Ticket
from schemas.codec import encode_fact, fact_type
from schemas.commands import EMBED_IMAGES_TYPE, EmbedImages, PurgePet, for_images, split_images
from schemas.facts import FailedImage, ImagesEmbedded, PetPurged
from schemas.headers import RETRY_DUE, Headers, build_headers, header, timestamp
from schemas.ids import message_id
from schemas.pet_keys import PET_KEY_TYPE, PetKey, encode_key
from schemas.public import JOB_STATUS_TYPE, JobStatus

SOURCE: Final = "/embed"
JITTER: Final = 0.2
"""A retry waits up to this part of its delay longer, so that what failed together is not tried again together."""


@dataclass(frozen=True)
class EmbedTopics:
    """Where the agent writes. `retries`: one topic a tier."""

    jobs: TopicT
    retries: Sequence[TopicT]
    pet_log: TopicT
    pet_keys: TopicT
    status: TopicT
    deadletter: TopicT


class EmbedOutputs:
    """Builds and queues the messages. `retry_delays`: seconds of each tier. `spread`: a random number in 0…1."""

    def __init__(
        self,
        topics: EmbedTopics,
        *,
        clock: Callable[[], datetime],
        retry_delays: Sequence[float],
        spread: Callable[[], float] = random.random,
    ) -> None:
        if len(retry_delays) != len(topics.retries):
            raise ValueError(f"retry_delays: {len(retry_delays)} delays for {len(topics.retries)} tiers")
        self._topics = topics
        self._clock = clock
        self._retry_delays = retry_delays
        self._spread = spread

    def processing(self, ticket: Ticket, command: EmbedImages) -> None:
        """The job's state: its command has been taken up."""
        status = JobStatus(
            pet_id=command.pet_id,
            job_id=command.job_id,
            status="processing",
            at=self.now(),
            attempt=command.attempt,
            run=command.run,
            enqueued_at=command.enqueued_at,
        )
        identity = message_id("status", command.pet_id, command.job, command.attempt, "processing", command.part)
        headers = self._headers(ticket, identity, JOB_STATUS_TYPE)
        ticket.send(
            self._topics.status, key=command.pet_id.encode(), value=msgspec.json.encode(status), headers=headers
        )

    async def key(self, ticket: Ticket, key: PetKey) -> None:
        """A new key of the pet; returns once the broker has it."""
        identity = message_id("key", key.key_id)
        ticket.send(
            self._topics.pet_keys,
            key=key.key_id.encode(),
            value=encode_key(key),
            headers=self._headers(ticket, identity, PET_KEY_TYPE, key.created_at),
            partition=ticket.event.message.partition,
        )
        await asyncio.gather(*await ticket.publish())

    def purged(self, ticket: Ticket, command: PurgePet, fact: PetPurged) -> None:
        """The fact that answers a purge."""
        identity = message_id("purged", command.pet_id, command.purge_id)
        now = self.now()
        value = encode_fact(fact, event_id=identity, time=now, pet_id=command.pet_id)
        headers = self._headers(ticket, identity, fact_type(fact), now)
        ticket.send(self._topics.pet_log, key=command.pet_id.encode(), value=value, headers=headers)

    def now(self) -> str:
        """The time of what is sent now, RFC 3339."""
        return timestamp(self._clock())

    def fact(self, ticket: Ticket, command: EmbedImages, fact: ImagesEmbedded, key: PetKey) -> None:
        """The fact that answers the command, sealed under `key`."""
        identity = message_id("embedded", command.pet_id, command.job, command.part, command.attempt)
        now = self.now()
        headers = self._headers(ticket, identity, fact_type(fact), now)
        value = encode_fact(fact, event_id=identity, time=now, pet_id=command.pet_id, key=key)
        ticket.send(self._topics.pet_log, key=command.pet_id.encode(), value=value, headers=headers)

    def dead_image(self, ticket: Ticket, command: EmbedImages, dead: FailedImage) -> None:
        """The dead letter of one image of the command.

        An image has one in a run, whichever try or part of it gave the image up: a command that is read again may do so
        at another try than it did at first, or after its list was made anew.
        """
        message = ticket.event.message
        cause = (command.pet_id, command.job, dead.image_id)
        record = image_record(message, command, dead)
        send_dead_letter(ticket, self._topics.deadletter, record, source=SOURCE, key=message.key, cause=cause)

    def unreadable(self, ticket: Ticket, reason: str) -> None:
        """The dead letter of a message that is no command."""
        message = ticket.event.message
        record = unreadable_record("command", message, reason)
        send_dead_letter(ticket, self._topics.deadletter, record, source=SOURCE, key=message.key)

    def parts(self, ticket: Ticket, command: EmbedImages, image_ids: tuple[str, ...]) -> None:
        """The commands that stand for one that named no image; they settle the job in its place."""
        for part in split_images(command, image_ids):
            identity = message_id("job", part.pet_id, part.job, part.part, part.attempt, "listed")
            self._command(ticket, self._topics.jobs, part, self._headers(ticket, identity, EMBED_IMAGES_TYPE))

    def retry(self, ticket: Ticket, command: EmbedImages, image_ids: tuple[str, ...]) -> None:
        """The command's next try, with the images that are left, to the tier that it has reached."""
        tier = min(command.attempt, len(self._topics.retries)) - 1
        later = msgspec.structs.replace(for_images(command, image_ids), attempt=command.attempt + 1)
        delay = self._retry_delays[tier] * (1 + JITTER * self._spread())
        due = timestamp(self._clock() + timedelta(seconds=delay))
        headers = [*self._headers(ticket, later.id, EMBED_IMAGES_TYPE), (RETRY_DUE, due.encode())]
        self._command(ticket, self._topics.retries[tier], later, headers)

    def _command(self, ticket: Ticket, topic: TopicT, command: EmbedImages, headers: Headers) -> None:
        ticket.send(topic, key=command.pet_id.encode(), value=msgspec.json.encode(command), headers=headers)

    def _headers(self, ticket: Ticket, event_id: str, event_type: str, time: str = "") -> Headers:
        return build_headers(
            event_id=event_id,
            event_type=event_type,
            source=SOURCE,
            time=time or self.now(),
            traceparent=header(ticket.event.message.headers, "traceparent"),
        )
