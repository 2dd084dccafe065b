"""What the log and the versions change in the tables of photos and pets. Called by `projections.similar.indexer` inside
the transaction that moves its position; every call may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiokafka import ConsumerRecord

from projections.changes import REMOVED
from projections.queries import load
from projections.records import decode_pet_change
from projections.similar.erasing import erase_similar
from projections.similar.facts import Change, Embedded, Photo, Purged, Removed, change_of, is_ignored
from projections.similar.models import Model, add_model, list_models
from projections.text import moment
from schemas.decisions import DecisionSettled
from schemas.errors import DeadLetter, StopProcess, UnknownVersion
from schemas.headers import timestamp
from schemas.pet_keys import KeyRing
from schemas.topics import position_of
from schemas.versions import PetErased, PetVersion

log = structlog.get_logger(__name__)
AT_ONCE: Final = 256
"""Vectors of one statement: about two megabytes of text."""


async def write_facts(connection: Any, records: Sequence[ConsumerRecord], keys: KeyRing) -> int:
    """Write the photos of some records of the log, in their order; how many there were.

    Raises StopProcess for a newer release's fact, or when `keys` lacks a key.
    """
    changes = [change for record in records if (change := _read(record, keys)) is not None]
    if not changes:
        return 0
    photos = _Photos(connection, await list_models(connection), await _accepted(connection, changes))
    for change in changes:
        await photos.apply(change)
    await photos.flush()
    return photos.written


async def write_versions(connection: Any, records: Sequence[ConsumerRecord]) -> int:
    """Note the pets that have a new version, drop images that are theirs no longer and pets that are purged; how many
    versions there were. Raises StopProcess for a newer release's message.
    """
    models, marks, versions = await list_models(connection), dict[str, int](), 0
    for record in records:
        change = _version(record)
        if isinstance(change, PetErased):
            await _mark(connection, marks)
            marks.clear()
            await erase_similar(connection, change)
        elif change is not None:
            versions += 1
            marks[change.pet_id] = change.version
            gone = [member.image_id for member in change.members if member.rule == REMOVED]
            if gone:
                await _remove(connection, models, Removed(change.pet_id, tuple(gone), change.offset + 1))
    await _mark(connection, marks)
    return versions


@dataclass(slots=True)
class _Batch:
    model: Model
    photos: dict[tuple[str, str], Photo]


class _Photos:
    """Gathers vectors and writes them before anything that could remove them."""

    def __init__(self, connection: Any, models: list[Model], accepted: dict[str, str]) -> None:
        self._connection = connection
        self._models = {model.name: model for model in models}
        self._accepted = accepted
        self._waiting: dict[str, _Batch] = {}
        self.written = 0

    async def apply(self, change: Change) -> None:
        """Take a change, in the log's order."""
        if isinstance(change, Embedded):
            await self._add(change)
            return
        await self.flush()
        if isinstance(change, Removed):
            await _remove(self._connection, self._models.values(), change)
        else:
            await self._purge(change)

    async def flush(self) -> None:
        """Write what waits."""
        for batch in self._waiting.values():
            photos = list(batch.photos.values())
            for start in range(0, len(photos), AT_ONCE):
                await _upsert(self._connection, batch.model, photos[start : start + AT_ONCE])
            self.written += len(photos)
        self._waiting.clear()

    async def _add(self, change: Embedded) -> None:
        if is_ignored(change, self._accepted.get(change.pet_id, "")):
            return
        if change.model not in self._models:
            self._models[change.model] = await add_model(self._connection, change.model, change.dimension)
        model = self._models[change.model]
        if model.dimension != change.dimension:
            log.warning("vectors_of_another_dimension", model=change.model, dimension=change.dimension)
            return
        batch = self._waiting.setdefault(change.model, _Batch(model, {}))
        batch.photos |= {(photo.pet_id, photo.image_id): photo for photo in change.photos}

    async def _purge(self, change: Purged) -> None:
        until = moment(change.accepted_until, "accepted_until")
        await self._connection.execute(load("note_similar_purge"), change.pet_id, until)
        for model in self._models.values():
            statement = model.statement("delete_similar_photos_of_pet")
            await self._connection.execute(statement, change.pet_id, change.log_offset)
        before = self._accepted.get(change.pet_id, "")
        self._accepted[change.pet_id] = max(before, timestamp(until))


def _read(record: ConsumerRecord, keys: KeyRing) -> Change | None:
    try:
        return change_of(record.offset, record.key, record.value, keys)
    except UnknownVersion as error:
        raise StopProcess(f"{position_of(record)}: {error}") from error
    except DeadLetter as error:
        log.info("fact_passed", at=position_of(record), reason=str(error))  # the fold has dead-lettered it
        return None


def _version(record: ConsumerRecord) -> PetVersion | PetErased | None:
    try:
        message = decode_pet_change(record.value or b"")
        return None if isinstance(message, DecisionSettled) else message
    except UnknownVersion as error:
        raise StopProcess(f"{position_of(record)}: {error}") from error
    except DeadLetter as error:
        log.info("version_passed", at=position_of(record), reason=str(error))  # the projector has dead-lettered it
        return None


async def _accepted(connection: Any, changes: Iterable[Change]) -> dict[str, str]:
    """Up to when jobs of these pets are ignored, of those that were ever purged; RFC 3339."""
    pets = list({change.pet_id for change in changes})
    rows = await connection.fetch(load("list_similar_purges"), pets)
    return {row["pet_id"]: timestamp(row["accepted_until"]) for row in rows}


async def _upsert(connection: Any, model: Model, photos: Sequence[Photo]) -> None:
    await connection.execute(
        model.statement("upsert_similar_photos"),
        [photo.pet_id for photo in photos],
        [photo.image_id for photo in photos],
        [photo.log_offset for photo in photos],
        [photo.at for photo in photos],
        [photo.vector for photo in photos],
    )


async def _remove(connection: Any, models: Iterable[Model], removed: Removed) -> None:
    for model in models:
        statement = model.statement("delete_similar_photos")
        await connection.execute(statement, removed.pet_id, list(removed.image_ids), removed.log_offset)


async def _mark(connection: Any, marks: dict[str, int]) -> None:
    if marks:
        await connection.execute(load("mark_similar_pets"), list(marks), list(marks.values()))
