"""Seals what a fact says of a pet under a key of the pet's: AES-256-GCM (NIST SP 800-38D). Used by schemas.codec.

What stays readable without the key is what a replay needs to go on: the job's ids and numbers, the model; the id of a
decision or a removal, a decision's kind and version. Sealed are vectors, image ids, what is said of images, failures,
labels and free text; what a decision is about, by whom and why. The event's id and the pet's are authenticated with it,
so that a sealed part cannot be moved to another fact.
"""

from __future__ import annotations

import os
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import DeadLetter
from schemas.facts import DecisionSubmitted, EmbeddedImage, FailedImage, ImagesEmbedded, ImagesRemoved

NONCE_BYTES: Final = 12


class _SealedImages(msgspec.Struct, frozen=True, array_like=True):
    images: tuple[EmbeddedImage, ...]
    known: tuple[str, ...]
    failed: tuple[FailedImage, ...]
    pending: tuple[str, ...]
    labels: tuple[str, ...]
    reason: str


class _SealedDecision(msgspec.Struct, frozen=True, array_like=True):
    arguments: dict[str, Any]
    who: str
    why: str


class _SealedRemoval(msgspec.Struct, frozen=True, array_like=True):
    image_ids: tuple[str, ...]
    reason: str


Sealable = ImagesEmbedded | DecisionSubmitted | ImagesRemoved
"""Facts that tell what a purge destroys."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_SealedImages)
_decision_decoder = msgspec.msgpack.Decoder(_SealedDecision)
_removal_decoder = msgspec.msgpack.Decoder(_SealedRemoval)


def seal(fact: Sealable, secret: bytes, *, event_id: str, pet_id: str) -> Sealable:
    """The fact with all that tells of the pet in `sealed`: nonce, then ciphertext with its tag."""
    bare, parts = _parted(fact)
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + AESGCM(secret).encrypt(nonce, _encoder.encode(parts), _bound_to(event_id, pet_id))
    return msgspec.structs.replace(bare, sealed=sealed)


def unseal(fact: Sealable, secret: bytes, *, event_id: str, pet_id: str) -> Sealable:
    """Inverse of `seal`. Raises DeadLetter when it was not sealed under this key, for this event of this pet."""
    nonce, sealed = fact.sealed[:NONCE_BYTES], fact.sealed[NONCE_BYTES:]
    try:
        return _whole(fact, AESGCM(secret).decrypt(nonce, sealed, _bound_to(event_id, pet_id)))
    except (InvalidTag, ValueError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DeadLetter("sealed: does not open under its key") from error


def _parted(fact: Sealable) -> tuple[Sealable, msgspec.Struct]:
    """What stays readable, and what is sealed."""
    replace = msgspec.structs.replace
    if isinstance(fact, DecisionSubmitted):
        return replace(fact, arguments={}, who="", why=""), _SealedDecision(fact.arguments, fact.who, fact.why)
    if isinstance(fact, ImagesRemoved):
        return replace(fact, image_ids=(), reason=""), _SealedRemoval(fact.image_ids, fact.reason)
    job = fact.job
    said = _SealedImages(fact.images, fact.known, fact.failed, fact.pending, job.labels, job.reason)
    job = replace(job, labels=(), reason="")
    return replace(fact, job=job, images=(), known=(), failed=(), pending=()), said


def _whole(fact: Sealable, opened: bytes) -> Sealable:
    """Inverse of `_parted`, of the bytes of what was sealed. Raises msgspec.DecodeError."""
    if isinstance(fact, DecisionSubmitted):
        return _with(fact, _decision_decoder.decode(opened))
    if isinstance(fact, ImagesRemoved):
        return _with(fact, _removal_decoder.decode(opened))
    parts = _decoder.decode(opened)
    job = msgspec.structs.replace(fact.job, labels=parts.labels, reason=parts.reason)
    return msgspec.structs.replace(
        fact,
        job=job,
        images=parts.images,
        known=parts.known,
        failed=parts.failed,
        pending=parts.pending,
        sealed=b"",
    )


def _with(fact: Sealable, parts: msgspec.Struct) -> Sealable:
    return msgspec.structs.replace(fact, **msgspec.structs.asdict(parts), sealed=b"")


def _bound_to(event_id: str, pet_id: str) -> bytes:
    return f"{pet_id}/{event_id}".encode()
