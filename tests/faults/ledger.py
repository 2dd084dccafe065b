"""What the service has accepted, and what must become of it. Written by load.py and probes.py, read by audit.py."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.faults.storage import MISSING, listed_images

JobKey = tuple[str, str]
"""(pet id, job id)."""
Fields = Mapping[bytes, bytes]
"""Of an entry of the job stream."""


@dataclass(frozen=True)
class Order:
    """A job as it is submitted, once or several times."""

    pet_id: str
    job_id: str
    image_ids: tuple[str, ...]
    force: bool = False

    @property
    def key(self) -> JobKey:
        """What tells it from other jobs."""
        return self.pet_id, self.job_id


@dataclass
class Job:
    """A job that was accepted at least once. `times`: how often it was accepted; `by`: the ways it came."""

    pet_id: str
    job_id: str
    image_ids: tuple[str, ...]
    force: bool = False
    by: set[str] = field(default_factory=set)
    times: int = 0
    accepted_at: float = 0.0

    @property
    def wanted(self) -> set[str]:
        """The images that must be in the pet's album."""
        names = self.image_ids or listed_images(self.pet_id)
        return {image_id for image_id in names if not image_id.startswith(MISSING)}

    @property
    def missing(self) -> set[str]:
        """The images that nobody has."""
        return {image_id for image_id in self.image_ids if image_id.startswith(MISSING)}


@dataclass(frozen=True)
class Post:
    """One attempt to submit a job by HTTP. `status`: 0 when there was no answer."""

    begun: float
    ended: float
    status: int


@dataclass
class Ledger:
    """`poison`: entry id → fields of entries that can never become a job; `doubtful`: those whose XADD had no answer.

    `actions`: ids of actions on dead letters that were accepted. `errors`: answers that must not be, in words.
    """

    jobs: dict[JobKey, Job] = field(default_factory=dict)
    poison: dict[str, Fields] = field(default_factory=dict)
    doubtful: list[Fields] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    sends: Counter[str] = field(default_factory=Counter)

    def accept(self, order: Order, by: str) -> None:
        """The job was accepted, once or once more."""
        fresh = Job(order.pet_id, order.job_id, order.image_ids, order.force)
        job = self.jobs.setdefault(order.key, fresh)
        job.accepted_at = job.accepted_at or time.monotonic()
        job.by.add(by)
        job.times += 1
        self.sends[by] += 1

    def note_answer(self, what: str, status: int, body: str) -> None:
        """Keep an answer of 500, which is an error whatever is away."""
        if status == 500:
            self.errors.append(f"{what} was answered with 500: {body[:500]}")

    def pets(self) -> list[str]:
        """Every pet with a job."""
        return sorted({pet_id for pet_id, _ in self.jobs})
