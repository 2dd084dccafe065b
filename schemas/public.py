"""Public messages: `media.clusters.updated`, `media.jobs.status`, `media.deadletter`. JSON, for other teams.

Fields are only ever added, never renamed, retyped or dropped.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from schemas.bounds import MAX_TEXT
from schemas.topics import MAX_MESSAGE_BYTES

CLUSTERS_UPDATED_TYPE: Final = "media.ClustersUpdated.v1"
JOB_STATUS_TYPE: Final = "media.JobStatus.v1"
DEAD_LETTER_TYPE: Final = "media.DeadLetter.v1"

LETTER_PAYLOAD_BYTES: Final = MAX_MESSAGE_BYTES * 2 // 3
"""Of the original that a dead letter carries at most: base64 adds a third, headers and reason a little."""

JobState = Literal["queued", "processing", "succeeded", "failed"]


class SnapshotMember(msgspec.Struct, frozen=True):
    """A member of a cluster, best score first."""

    image_id: str
    score: float


class SnapshotCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster. `members` is filled for clusters that this version changed, up to the message's bound."""

    id: str
    label: str
    hero_image_id: str
    member_count: int
    members: tuple[SnapshotMember, ...] = ()


class ClustersUpdated(msgspec.Struct, frozen=True, kw_only=True):
    """A bounded snapshot of a pet's clusters: changed ones first, then the largest. `link` leads to all of them."""

    pet_id: str
    version: int
    updated_at: str
    job_id: str
    cluster_count: int
    image_count: int
    unclustered_count: int
    clusters: tuple[SnapshotCluster, ...]
    link: str


class FailedImageReport(msgspec.Struct, frozen=True):
    """An image of a job that could not be used, and why."""

    image_id: str
    kind: str
    reason: str


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A job's state. `at` is RFC 3339. `version`: the pet's version that holds its images, 0 before the job ends.
    `enqueued_at`: of the command that a ``processing`` is about, RFC 3339; older ones leave it out, and the ends do.

    Order a job's states by (`run`, ended or not, `attempt`, state), with queued < processing < failed < succeeded,
    never by arrival: a command that is read again sends its ``processing`` again, even behind its run's end, and may be
    tried again then. A run ends once. `run` grows when dead letters are requeued.
    """

    pet_id: str
    job_id: str
    status: JobState
    at: str
    attempt: int = 1
    run: int = 1
    version: int = 0
    placed: int = 0
    known: int = 0
    failed: int = 0
    failed_images: tuple[FailedImageReport, ...] = ()
    error: str = ""
    enqueued_at: str | msgspec.UnsetType = msgspec.UNSET


class DeadLetterRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What can never succeed. `payload`: the original bytes, base64. `kind`: a stable word for the cause.

    `subject`: what it is about: ``entry`` (of the Redis Stream), ``command``, ``image``, ``job`` or ``fact``.
    `source_id`: where the original stands: ``<stream>/<entry id>`` or ``<topic>/<partition>/<offset>``.
    `attempts`: tries in the job's `run`, the first counts. The message's `ce_id` is the letter's id.
    """

    subject: Literal["entry", "command", "image", "job", "fact"]
    kind: str
    reason: str
    attempts: int
    source_id: str
    failed_at: str
    run: int = 1
    payload: bytes = b""
    pet_id: str = ""
    job_id: str = ""
    image_id: str = ""


def bounded_letter(record: DeadLetterRecord, limit: int = LETTER_PAYLOAD_BYTES) -> DeadLetterRecord:
    """The letter with at most `limit` bytes of the original and a bounded reason, which says so; else it could not be
    sent, and what caused it would be tried for ever.
    """
    size, reason = len(record.payload), record.reason[:MAX_TEXT]
    if size <= limit:
        return record if reason == record.reason else msgspec.structs.replace(record, reason=reason)
    reason += f" [payload cut to {limit} of {size} bytes; whole at source_id, for as long as that is kept]"
    return msgspec.structs.replace(record, reason=reason, payload=record.payload[:limit])
