"""Why an image lies where it lies at a version: from what was recorded then, nothing is computed anew. Called by the
reader of history.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from projections.decision_reader import DecidedBy, decided_by
from projections.members import decode_placed_by
from projections.missing import Missing, missing_version
from projections.queries import load
from schemas.headers import timestamp
from schemas.ids import UNCLUSTERED, cluster_id

MAX_DUPLICATES: Final = 100
RULES: Final = {
    "opened": "No component was close enough: it opened one of its own.",
    "joined": "It is close enough to photos of this cluster.",
    "left": "Its cluster came apart, and what it lies with is too little for one.",
    "merged": "The cluster that it lay in was merged into this one.",
    "regrouped": "What it lies with was grouped anew, and belongs to this cluster since.",
    "reclustered": "The whole album was folded anew.",
    "decided": "A user's decision holds it there.",
}
"""What each recorded rule means."""
_RELEASED: Final = "No decision holds it any more since a user took one back: it lies with what it is alike to."

_POSITION: Final = ("log_partition", "log_offset")
_FIRST: Final = ("first_at", "first_job", "first_model", "first_policy", "first_partition", "first_offset")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The event of the log that made a version, and what it was folded by. Null where retention removed the version."""

    version: int
    at: str | None
    job_id: str | None
    model: str | None
    policy_id: str | None
    log_partition: int | None
    log_offset: int | None


class RunnerUp(msgspec.Struct, frozen=True, kw_only=True):
    """The next-best cluster when the image was placed, and its score there."""

    cluster: str
    score: float


class WhyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Why an image lies in `cluster` (null: in none) at `version`.

    `score`: cosine to the cluster's direction, as recorded; `membership`: how sure the cluster was when the image was
    placed, 0…1, null where its engine did not say. `component`: the group of near-alike photos inside of the cluster.
    `near_duplicates`: the same picture, encoded, resized or cropped anew, at most `MAX_DUPLICATES`. `since`: the event
    that put it there; `placed`: the one that placed it at first. `decision`: the user's decision that holds it there,
    or by which it came there.
    """

    image_id: str
    version: int
    cluster: str | None
    rule: str
    meaning: str
    score: float
    membership: float | None
    runner_up: RunnerUp | None
    component: int | None
    quality: float
    near_duplicates: list[str]
    since: Event
    placed: Event
    decision: DecidedBy | None


async def read_why(connection: Any, pet_id: str, image_id: str, version: int | None) -> WhyRow:
    """See `HistoryReader.why`; the connection is in a snapshot."""
    last = await connection.fetchval(load("read_last_version"), pet_id)
    chosen = version or last
    if version is not None and await connection.fetchrow(load("read_version"), pet_id, version) is None:
        raise await missing_version(connection, pet_id, version)
    row = await connection.fetchrow(load("read_why"), pet_id, image_id, chosen)
    if row is None:
        raise Missing("image")
    placed = decode_placed_by(row["metadata"])
    first = placed.duplicate_of or image_id
    others = await connection.fetch(load("list_near_duplicates"), pet_id, first, chosen, MAX_DUPLICATES)
    alike = [name for name in (first, *(other["image_id"] for other in others)) if name != image_id]
    runner_up = None
    if placed.runner_up != UNCLUSTERED:
        runner_up = RunnerUp(cluster=cluster_id(pet_id, placed.runner_up), score=placed.runner_up_score)
    number = row["cluster_number"]
    return WhyRow(
        image_id=image_id,
        version=chosen,
        cluster=None if number == UNCLUSTERED else cluster_id(pet_id, number),
        rule=placed.rule,
        meaning=_RELEASED if placed.rule == "decided" and not placed.decision else RULES.get(placed.rule, ""),
        score=row["score"],
        membership=placed.membership if placed.membership >= 0 else None,
        runner_up=runner_up,
        component=placed.component if placed.component >= 0 else None,
        quality=placed.quality,
        near_duplicates=alike,
        since=_event(row["since_version"], row, ("updated_at", "job_id", "model", "policy_id", *_POSITION)),
        placed=_event(row["first_version"], row, _FIRST),
        decision=decided_by(row),
    )


def _event(version: int, row: Any, columns: tuple[str, ...]) -> Event:
    at, job_id, model, policy_id, partition, offset = (row[column] for column in columns)
    return Event(
        version=version,
        at=timestamp(at) if isinstance(at, datetime) else None,
        job_id=job_id,
        model=model,
        policy_id=policy_id,
        log_partition=partition,
        log_offset=offset,
    )
