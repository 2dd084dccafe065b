"""Bytes ↔ structs for the log and for versions. The only place that knows how a fact is written.

envelope (msgpack map)
├── type, version     which fact, see schemas.upcast
├── event_id, time    the same values as the ce_id and ce_time headers
├── pet_id            whose fact; empty for facts of a whole partition
├── key_id            which key of the pet seals what the fact says of it; empty: none
└── data              the fact, msgpack
"""

from __future__ import annotations

from typing import Any

import msgspec

from schemas import facts
from schemas.bounds import MAX_TEXT
from schemas.decisions import DECISION_FORMAT, DecisionSettled
from schemas.errors import DeadLetter
from schemas.pet_keys import NO_KEYS, KeyRing, PetKey
from schemas.sealing import Sealable, seal, unseal
from schemas.upcast import BY_NAME, CURRENT, upcast
from schemas.versions import (
    DECIDED_FORMAT,
    ERASED_FORMAT,
    GROUPED_FORMAT,
    DecidedVersion,
    GroupedVersion,
    PetErased,
    PetVersion,
)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A fact as it stands in the log."""

    type: str
    version: int
    event_id: str
    time: str
    pet_id: str
    key_id: str = ""
    data: msgspec.Raw


_encoder = msgspec.msgpack.Encoder()
_envelope_decoder = msgspec.msgpack.Decoder(Envelope)
_fact_decoders = {name: msgspec.msgpack.Decoder(kind) for name, kind in BY_NAME.items()}
_change_decoders: dict[int, msgspec.msgpack.Decoder[PetVersion | PetErased | DecisionSettled]] = {
    1: msgspec.msgpack.Decoder(PetVersion),
    ERASED_FORMAT: msgspec.msgpack.Decoder(PetErased),
    GROUPED_FORMAT: msgspec.msgpack.Decoder(GroupedVersion),
    DECISION_FORMAT: msgspec.msgpack.Decoder(DecisionSettled),
    DECIDED_FORMAT: msgspec.msgpack.Decoder(DecidedVersion),
}


class _Format(msgspec.Struct):
    """What tells the messages of `media.pet-versions` apart."""

    format: int = 1


_format_decoder = msgspec.msgpack.Decoder(_Format)


def encode_fact(fact: facts.Fact, *, event_id: str, time: str, pet_id: str, key: PetKey | None = None) -> bytes:
    """The log's bytes of a fact, sealed under `key` when it tells what a purge destroys."""
    kind = type(fact)
    key_id = ""
    if isinstance(fact, facts.ImagesEmbedded):
        fact = msgspec.structs.replace(fact, images=tuple(image.written() for image in fact.images))
    if key is not None and isinstance(fact, Sealable):
        fact, key_id = seal(fact, key.secret, event_id=event_id, pet_id=pet_id), key.key_id
    envelope = Envelope(
        type=kind.__name__,
        version=CURRENT[kind],
        event_id=event_id,
        time=time,
        pet_id=pet_id,
        key_id=key_id,
        data=msgspec.Raw(_encoder.encode(fact)),
    )
    return _encoder.encode(envelope)


def fact_type(fact: facts.Fact) -> str:
    """`ce_type` of a fact, e.g. ``media.ImagesEmbedded.v1``."""
    return f"media.{type(fact).__name__}.v{CURRENT[type(fact)]}"


def decode_fact(raw: bytes, keys: KeyRing = NO_KEYS) -> tuple[Envelope, facts.Fact]:
    """The envelope and the fact, upcast to the newest version and opened with `keys`.

    A fact whose key is destroyed stays sealed. Raises UnknownVersion for a newer release's fact, DeadLetter for bytes
    that are no fact at all or do not open, StopProcess when `keys` lacks the key.
    """
    try:
        envelope = _envelope_decoder.decode(raw)
        kind = BY_NAME.get(envelope.type)
        if kind is not None and envelope.version == CURRENT[kind]:
            return envelope, _opened(envelope, _fact_decoders[envelope.type].decode(envelope.data), keys)
        data: dict[str, Any] = upcast(envelope.type, envelope.version, msgspec.msgpack.decode(envelope.data))
        return envelope, _opened(envelope, msgspec.convert(data, BY_NAME[envelope.type]), keys)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeadLetter(f"not a fact: {error}"[:MAX_TEXT]) from error


def keys_named(raw: bytes) -> tuple[str, ...]:
    """Ids of the keys that `decode_fact` will look up; none for bytes that are no fact."""
    try:
        envelope = _envelope_decoder.decode(raw)
        if envelope.type == facts.PetPurged.__name__ and envelope.version == CURRENT[facts.PetPurged]:
            purge = _fact_decoders[envelope.type].decode(envelope.data)
            return purge.keys if isinstance(purge, facts.PetPurged) else ()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return (envelope.key_id,) if envelope.key_id else ()


def _opened(envelope: Envelope, fact: facts.Fact, keys: KeyRing) -> facts.Fact:
    if isinstance(fact, Sealable) and envelope.key_id:
        key = keys.find(envelope.key_id)
        if key.destroyed is None:
            return unseal(fact, key.secret, event_id=envelope.event_id, pet_id=envelope.pet_id)
    if isinstance(fact, facts.PetPurged):
        left = [key.destroyed for key in map(keys.find, fact.keys) if key.destroyed is not None]
        for end in (end for end in left if end.purge_id == fact.purge_id):
            return msgspec.structs.replace(fact, last_version=end.last_version, next_cluster=end.next_cluster)
    return fact


def encode_version(message: PetVersion | PetErased | DecisionSettled) -> bytes:
    """The bytes of a message on `media.pet-versions`."""
    return _encoder.encode(message)


def decode_message(raw: bytes) -> PetVersion | PetErased | DecisionSettled:
    """Any message of `media.pet-versions`. Raises DeadLetter when the bytes are none."""
    try:
        # A newer release's has a format that is not known here; its reader says so.
        return _change_decoders.get(_format_decoder.decode(raw).format, _change_decoders[1]).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeadLetter(f"not a version: {error}"[:MAX_TEXT]) from error


def decode_change(raw: bytes) -> PetVersion | PetErased:
    """A message that changes what is known of a pet. Raises DeadLetter when the bytes are none."""
    message = decode_message(raw)
    if isinstance(message, DecisionSettled):
        raise DeadLetter("not a version: what became of a decision")
    return message


def decode_version(raw: bytes) -> PetVersion:
    """Raises DeadLetter when the bytes are no version of a pet."""
    change = decode_change(raw)
    if isinstance(change, PetErased):
        raise DeadLetter("not a version: a purge")
    return change
