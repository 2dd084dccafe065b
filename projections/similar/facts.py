"""Records of the log → what the table of photos makes of them. Pure; called by `projections.similar.photos`.

A vector that the fold would refuse is left out here as well: no version will name its image.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from projections.text import moment
from schemas.bounds import MAX_INDEXED_DIMENSION
from schemas.codec import decode_fact
from schemas.facts import ImagesEmbedded, ImagesRemoved, PetPurged
from schemas.headers import is_up_to
from schemas.ids import is_id
from schemas.pet_keys import KeyRing
from tables.vectors import dequantize, is_unit


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo's vector as Postgres reads it; `at`: the time of its fact."""

    pet_id: str
    image_id: str
    log_offset: int
    at: datetime
    vector: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """New vectors of one model. `enqueued_at`: of their job, RFC 3339 or empty."""

    pet_id: str
    model: str
    dimension: int
    enqueued_at: str
    photos: tuple[Photo, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """Images that are the pet's no longer, as far as they were embedded before `log_offset`."""

    pet_id: str
    image_ids: tuple[str, ...]
    log_offset: int


@dataclass(frozen=True, slots=True)
class Purged:
    """All photos of before `log_offset` are destroyed; jobs enqueued up to `accepted_until` are ignored from now on."""

    pet_id: str
    log_offset: int
    accepted_until: str


Change = Embedded | Removed | Purged


def change_of(offset: int, key: bytes | None, value: bytes | None, keys: KeyRing) -> Change | None:
    """What a record of the log changes; None for nothing.

    Raises DeadLetter for a record that is no fact, which the fold reports, UnknownVersion for a newer release's fact,
    and StopProcess when `keys` lacks a key.
    """
    envelope, fact = decode_fact(value or b"", keys)
    if not is_id(envelope.pet_id) or key != envelope.pet_id.encode():
        return None
    if isinstance(fact, ImagesEmbedded):
        return _embedded(envelope.pet_id, envelope.time, offset, fact)
    if isinstance(fact, ImagesRemoved):
        return Removed(envelope.pet_id, fact.image_ids, offset)
    if isinstance(fact, PetPurged):
        return Purged(envelope.pet_id, offset, fact.accepted_until)
    return None


def is_ignored(change: Embedded, accepted_until: str) -> bool:
    """Whether the photos' job was accepted before a purge of the pet, as the fold judges it."""
    return bool(accepted_until) and is_up_to(change.enqueued_at, accepted_until)


def _embedded(pet_id: str, time: str, offset: int, fact: ImagesEmbedded) -> Embedded | None:
    if not 1 <= fact.dimension <= MAX_INDEXED_DIMENSION or fact.sealed:
        return None
    whole = all(len(image.vector) == 2 * fact.dimension and is_unit(image.vector) for image in fact.images)
    if not fact.images or not whole:
        return None
    at = moment(time, "time")
    photos = {
        image.image_id: Photo(pet_id, image.image_id, offset, at, _text(image.vector))
        for image in fact.images
        if is_id(image.image_id)
    }
    return Embedded(pet_id, fact.model, fact.dimension, fact.job.enqueued_at, tuple(photos.values()))


def _text(raw: bytes) -> str:
    """A vector of the log as pgvector reads it."""
    return "[" + ",".join(map(str, dequantize(raw).astype(int).tolist())) + "]"
