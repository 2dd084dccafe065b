"""Seals what a fact says of a pet under a key of the pet's: AES-256-GCM (NIST SP 800-38D). Used by schemas.codec.

What stays readable without the key is what a replay needs to go on: the job's ids and numbers, the model; a decision's
id, kind and version. Sealed are vectors, image ids, what is said of images, failures, labels and free text; what a
decision is about, by whom and why. The event's id and the pet's are authenticated with it, so that a sealed part cannot
be moved to another fact.
"""

from __future__ import annotations

import os
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import DeadLetter
from schemas.facts import DecisionSubmitted, EmbeddedImage, FailedImage, ImagesEmbedded

NONCE_BYTES: Final = 12


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
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


Sealable = ImagesEmbedded | DecisionSubmitted
"""Facts that tell what a purge destroys."""
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Sealed)
_decision_decoder = msgspec.msgpack.Decoder(_SealedDecision)


def seal(fact: Sealable, secret: bytes, *, event_id: str, pet_id: str) -> Sealable:
    """The fact with all that tells of the pet in `sealed`: nonce, then ciphertext with its tag."""
    parts: msgspec.Struct
    bare: Sealable
    if isinstance(fact, DecisionSubmitted):
        parts = _SealedDecision(fact.arguments, fact.who, fact.why)
        bare = msgspec.structs.replace(fact, arguments={}, who="", why="")
    else:
        parts = _Sealed(fact.images, fact.known, fact.failed, fact.pending, fact.job.labels, fact.job.reason)
        job = msgspec.structs.replace(fact.job, labels=(), reason="")
        bare = msgspec.structs.replace(fact, job=job, images=(), known=(), failed=(), pending=())
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + AESGCM(secret).encrypt(nonce, _encoder.encode(parts), _bound_to(event_id, pet_id))
    return msgspec.structs.replace(bare, sealed=sealed)


def unseal(fact: Sealable, secret: bytes, *, event_id: str, pet_id: str) -> Sealable:
    """Inverse of `seal`. Raises DeadLetter when it was not sealed under this key, for this event of this pet."""
    nonce, sealed = fact.sealed[:NONCE_BYTES], fact.sealed[NONCE_BYTES:]
    try:
        opened = AESGCM(secret).decrypt(nonce, sealed, _bound_to(event_id, pet_id))
        if isinstance(fact, DecisionSubmitted):
            said = msgspec.structs.asdict(_decision_decoder.decode(opened))
            return msgspec.structs.replace(fact, sealed=b"", **said)
        parts = _decoder.decode(opened)
    except (InvalidTag, ValueError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DeadLetter("sealed: does not open under its key") from error
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


def _bound_to(event_id: str, pet_id: str) -> bytes:
    return f"{pet_id}/{event_id}".encode()
