"""Records of the projector's topics become messages. Pure; called by `projections.partition`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from projections.dead_letters import decode_letter, decode_letter_action
from projections.decisions import check_settled
from projections.erasure import check_erased
from projections.jobs import check_command, check_status
from projections.replayed import Change
from projections.text import moment
from schemas import commands
from schemas.codec import decode_message
from schemas.commands import EMBED_IMAGES_TYPE, PURGE_PET_TYPE, EmbedImages, PurgePet
from schemas.dead_letters import DEAD_LETTER_ACTION_TYPE, DeadLetterAction
from schemas.decisions import DECISION_SETTLED_TYPE, DecisionSettled
from schemas.errors import DeadLetter, UnknownVersion
from schemas.headers import header
from schemas.ids import check_id
from schemas.public import DEAD_LETTER_TYPE, JOB_STATUS_TYPE, DeadLetterRecord, JobStatus
from schemas.topics import Topics
from schemas.versions import DECIDED_FORMAT, PET_ERASED_TYPE, PET_VERSION_TYPE, PetErased

Message = EmbedImages | PurgePet | JobStatus | Change | DeadLetterRecord | DeadLetterAction
_TYPE: Final = re.compile(r"(?P<name>.+)\.v(?P<number>\d+)")
_status = msgspec.json.Decoder(JobStatus)


class RecordDecoder:
    """Decodes by topic; knows which message stands on which."""

    def __init__(self, topics: Topics) -> None:
        self._by_topic: dict[str, tuple[tuple[str, ...], Callable[[bytes], Message]]] = {
            topics.jobs.name: ((EMBED_IMAGES_TYPE, PURGE_PET_TYPE), decode_request),
            topics.jobs_status.name: ((JOB_STATUS_TYPE,), decode_status),
            topics.pet_versions.name: (
                (PET_VERSION_TYPE, PET_ERASED_TYPE, DECISION_SETTLED_TYPE),
                decode_pet_change,
            ),
            topics.deadletter.name: ((DEAD_LETTER_TYPE,), decode_letter),
            topics.deadletter_actions.name: ((DEAD_LETTER_ACTION_TYPE,), decode_letter_action),
        }

    def decode(self, topic: str, value: bytes | None, headers: Iterable[tuple[str, bytes]] | None) -> Message:
        """The message. Raises UnknownVersion when a newer release wrote it, DeadLetter when it is none at all."""
        known, decode = self._by_topic[topic]
        written = header(headers, "ce_type")
        for each in known:
            check_type(written, each)
        if value is None:
            raise DeadLetter(f"a tombstone on {topic}")
        return decode(value)


def check_type(written: str, known: str) -> None:
    """Raises UnknownVersion when `written`, a message's ce_type, is a later version of `known`."""
    theirs, ours = _TYPE.fullmatch(written), _TYPE.fullmatch(known)
    if theirs and ours and theirs["name"] == ours["name"] and int(theirs["number"]) > int(ours["number"]):
        raise UnknownVersion(f"{written} was written by a newer release; this one knows {known}")


def decode_request(value: bytes) -> EmbedImages | PurgePet:
    """A command of `media.jobs`, by the one decoder that the embed agent uses too, whose row fits its table."""
    command = commands.decode_request(value)
    if isinstance(command, EmbedImages):
        check_command(command)
    return command


def decode_status(value: bytes) -> JobStatus:
    """A state of `media.jobs.status`."""
    try:
        status = _status.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeadLetter(f"not a job status: {error}") from error
    check_status(status)
    return status


def decode_pet_change(value: bytes) -> Change:
    """A version of `media.pet-versions`, the purge of a pet, or what became of a decision."""
    version = decode_message(value)
    if isinstance(version, PetErased):
        return check_erased(version)
    if isinstance(version, DecisionSettled):
        return check_settled(version)
    if version.format > DECIDED_FORMAT:
        raise UnknownVersion(f"PetVersion has format {version.format}; this release knows {DECIDED_FORMAT}")
    check_id(version.pet_id, "pet_id")
    moment(version.time, "time")
    return version
