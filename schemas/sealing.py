"""Seals what a fact says of a pet's images under the pet's key: AES-256-GCM (NIST SP 800-38D). Used by schemas.codec.

What stays readable without the key is what a replay needs to go on: the job's ids and numbers, the model. Sealed are
vectors, image ids, what is said of images, failures, labels and free text. The event's id and the pet's are
authenticated with it, so that a sealed part cannot be moved to another fact.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import DeadLetter
from schemas.facts import EmbeddedImage, FailedImage, ImagesEmbedded

NONCE_BYTES: Final = 12


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    images: tuple[EmbeddedImage, ...]
    known: tuple[str, ...]
    failed: tuple[FailedImage, ...]
    pending: tuple[str, ...]
    labels: tuple[str, ...]
    reason: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Sealed)


def seal(fact: ImagesEmbedded, secret: bytes, *, event_id: str, pet_id: str) -> ImagesEmbedded:
    """The fact with all that tells of images in `sealed`: nonce, then ciphertext with its tag."""
    parts = _Sealed(fact.images, fact.known, fact.failed, fact.pending, fact.job.labels, fact.job.reason)
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + AESGCM(secret).encrypt(nonce, _encoder.encode(parts), _bound_to(event_id, pet_id))
    job = msgspec.structs.replace(fact.job, labels=(), reason="")
    return msgspec.structs.replace(fact, job=job, images=(), known=(), failed=(), pending=(), sealed=sealed)


def unseal(fact: ImagesEmbedded, secret: bytes, *, event_id: str, pet_id: str) -> ImagesEmbedded:
    """Inverse of `seal`. Raises DeadLetter when it was not sealed under this key, for this event of this pet."""
    nonce, sealed = fact.sealed[:NONCE_BYTES], fact.sealed[NONCE_BYTES:]
    try:
        parts = _decoder.decode(AESGCM(secret).decrypt(nonce, sealed, _bound_to(event_id, pet_id)))
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
