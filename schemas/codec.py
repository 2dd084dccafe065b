"""Bytes ↔ structs for the log and for versions. The only place that knows how a fact is written.

envelope (msgpack map)
├── type, version     which fact, see schemas.upcast
├── event_id, time    the same values as the ce_id and ce_time headers
├── pet_id            whose fact; empty for facts of a whole partition
├── key_id            which key encrypts the data; empty while nothing is encrypted
└── data              the fact, msgpack
"""

from __future__ import annotations

from typing import Any

import msgspec

from schemas import facts
from schemas.bounds import MAX_TEXT
from schemas.errors import DeadLetter
from schemas.upcast import BY_NAME, CURRENT, upcast
from schemas.versions import PetVersion


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
_version_decoder = msgspec.msgpack.Decoder(PetVersion)


def encode_fact(fact: facts.Fact, *, event_id: str, time: str, pet_id: str) -> bytes:
    """The log's bytes of a fact."""
    kind = type(fact)
    envelope = Envelope(
        type=kind.__name__,
        version=CURRENT[kind],
        event_id=event_id,
        time=time,
        pet_id=pet_id,
        data=msgspec.Raw(_encoder.encode(fact)),
    )
    return _encoder.encode(envelope)


def fact_type(fact: facts.Fact) -> str:
    """`ce_type` of a fact, e.g. ``media.ImagesEmbedded.v1``."""
    return f"media.{type(fact).__name__}.v{CURRENT[type(fact)]}"


def decode_fact(raw: bytes) -> tuple[Envelope, facts.Fact]:
    """The envelope and the fact, upcast to the newest version.

    Raises UnknownVersion for a newer release's fact, DeadLetter for bytes that are no fact at all.
    """
    try:
        envelope = _envelope_decoder.decode(raw)
        kind = BY_NAME.get(envelope.type)
        if kind is not None and envelope.version == CURRENT[kind]:
            return envelope, _fact_decoders[envelope.type].decode(envelope.data)
        data: dict[str, Any] = upcast(envelope.type, envelope.version, msgspec.msgpack.decode(envelope.data))
        return envelope, msgspec.convert(data, BY_NAME[envelope.type])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeadLetter(f"not a fact: {error}"[:MAX_TEXT]) from error


def encode_version(version: PetVersion) -> bytes:
    """The bytes of a message on `media.pet-versions`."""
    return _encoder.encode(version)


def decode_version(raw: bytes) -> PetVersion:
    """Raises DeadLetter when the bytes are no PetVersion."""
    try:
        return _version_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeadLetter(f"not a version: {error}"[:MAX_TEXT]) from error
