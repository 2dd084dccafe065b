"""What the views work with: the collaborators that `app` wires, as protocols. No view knows a client library."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from app.dead_letters.desk import LetterDesk
from app.decisions.desk import DecisionDesk
from app.purges.desk import PurgeDesk
from app.telemetry.health import Check, Readiness
from app.telemetry.metrics import Metrics
from projections.history import HistoryReader
from projections.own_writes import OwnWrites
from projections.read_through import ReadThrough
from projections.reader import JobRow
from projections.rebuild_progress import RebuildProgress
from projections.similar.search import SimilarReader
from schemas.commands import EmbedImages
from schemas.errors import RetryLater
from schemas.public import JobState


class KafkaUnavailable(RetryLater):
    """The broker did not confirm what was submitted."""


class Reader(Protocol):
    """Postgres; see `projections.reader.ClusterReader`. Raises `POSTGRES_ERRORS` while it is away."""

    async def jobs_of_pet(self, pet_id: str, limit: int, before_cursor: str | None = None) -> list[JobRow]:
        """A page of the pet's jobs, newest first. Raises InvalidInput for a bad cursor."""
        ...

    async def jobs_by_id(self, job_id: str, pet_id: str | None = None) -> list[JobRow]:
        """The jobs that carry this id: the pet's, or without `pet_id` those of several pets."""
        ...

    async def jobs_by_status(self, status: JobState, limit: int, before_cursor: str | None = None) -> list[JobRow]:
        """A page of all pets' jobs in a state, newest first. Raises InvalidInput for a bad cursor."""
        ...

    async def ping(self) -> None:
        """Returns when Postgres answers."""
        ...


class Cache(Protocol):
    """Redis; see `projections.cache.AnswerCache`. Raises `CACHE_ERRORS` while it is away."""

    async def invalidate(self, pet_id: str) -> bool:
        """Drop; False when there was none."""
        ...


class Submit(Protocol):
    """Hands commands over to Kafka, returns after the broker's word on all; raises KafkaUnavailable in bounded time."""

    async def __call__(self, commands: Sequence[EmbedImages], *, traceparent: str) -> None:
        """Submit the commands of one job."""
        ...


async def no_peers() -> dict[str, Check]:
    """The readiness of no other role."""
    return {}


async def no_rebuilds() -> list[RebuildProgress]:
    """No rebuild was ever begun."""
    return []


@dataclass(frozen=True, kw_only=True)
class WebServices:
    """The collaborators of the views. `timeout`: seconds that one call of a store may take. `wait`: seconds that a read
    with conditions waits, unless it says how many. `unread`: stores that no answer comes from, by name with the reason;
    readiness does not ask them. `similarity_tokens`: with which callers may search other pets; none: nobody may.
    """

    answers: ReadThrough
    own_writes: OwnWrites
    reader: Reader
    history: HistoryReader
    similar: SimilarReader
    cache: Cache
    submit: Submit
    letters: LetterDesk
    purges: PurgeDesk
    decisions: DecisionDesk
    redis_ping: Callable[[], Awaitable[object]]
    kafka_ping: Callable[[], Awaitable[object]]
    clock: Callable[[], datetime]
    peers: Readiness = no_peers
    rebuilds: Callable[[], Awaitable[list[RebuildProgress]]] = no_rebuilds
    timeout: float = 5.0
    wait: float = 2.0
    unread: Mapping[str, str] = field(default_factory=dict)
    similarity_tokens: tuple[str, ...] = ()
    metrics: Metrics = field(default_factory=Metrics)
