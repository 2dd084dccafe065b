"""Whether what the log tells of a pet before its purge can still be read. Called by `app.purges.check`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from app.purges.finding import Finding, Purge, offsets_text
from app.purges.pet_topics import PetTopics
from projections.text import moment
from schemas.codec import decode_fact, keys_named
from schemas.errors import DeadLetter
from schemas.facts import DecisionSubmitted, Fact, ImagesEmbedded, ImagesRemoved, PetPurged
from schemas.pet_keys import Destroyed, PetKey, decode_key
from schemas.topics import Topics

_UNKNOWN: Final = Destroyed(purge_id="", last_version=-1, next_cluster=-1)


@dataclass
class Keys:
    """The pet's keys as their topic has them. `last`: the newest record of each; `old_secrets`: superseded ones."""

    last: dict[str, PetKey] = field(default_factory=dict)
    old_secrets: dict[str, int] = field(default_factory=dict)
    unreadable: list[int] = field(default_factory=list)

    def find(self, key_id: str) -> PetKey:
        """The key; one that the topic lacks counts as destroyed, so that its facts stay sealed."""
        return self.last.get(key_id) or PetKey(key_id=key_id, pet_id="", created_at="", destroyed=_UNKNOWN)


@dataclass(frozen=True)
class _Seen:
    """A fact of the pet. `tells`: whether it says in the clear, or opened, what a purge destroys."""

    offset: int
    time: str
    fact: Fact | None
    keys: tuple[str, ...]
    tells: bool


async def read_keys(topics: PetTopics, names: Topics, pet_id: str) -> Keys:
    """All keys of the pet."""
    keys = Keys()
    async for record in topics.records(names.pet_keys.name):
        try:
            key = decode_key(record.value or b"")
        except DeadLetter:
            keys.unreadable.append(record.offset)
            continue
        if key.pet_id == pet_id:
            before = keys.last.get(key.key_id)
            if before is not None and before.secret:
                keys.old_secrets[key.key_id] = keys.old_secrets.get(key.key_id, 0) + 1
            keys.last[key.key_id] = key
    return keys


async def look_into_log(
    topics: PetTopics, names: Topics, pet_id: str, keys: Keys
) -> tuple[Purge | None, list[Finding]]:
    """The pet's last purge, None when the log has none; and what can be read of before it."""
    seen = [
        _see(record.offset, record.value or b"", keys)
        async for record in topics.records(names.pet_log.name)
        if record.key == pet_id.encode()
    ]
    last = next((each for each in reversed(seen) if isinstance(each.fact, PetPurged)), None)
    if last is None or not isinstance(last.fact, PetPurged):
        return None, []
    before = [each for each in seen if each.offset < last.offset]
    fact = last.fact
    purge = Purge(
        pet_id=pet_id,
        purge_id=fact.purge_id,
        offset=last.offset,
        purged_at=moment(last.time, "time"),
        accepted_until=moment(fact.accepted_until, "accepted_until"),
        last_version=fact.last_version,
        images=frozenset(_images(each.fact for each in seen if each.offset > last.offset)),
    )
    retired = {*fact.keys, *(key for each in before for key in each.keys)}
    return purge, [*_of_facts(names, before), *_of_keys(names, retired, keys)]


def _see(offset: int, value: bytes, keys: Keys) -> _Seen:
    try:
        envelope, fact = decode_fact(value, keys)
    except DeadLetter:
        return _Seen(offset, "", None, (), tells=True)
    named = () if isinstance(fact, PetPurged) else keys_named(value)
    return _Seen(offset, envelope.time, fact, named, _tells(fact))


def _tells(fact: Fact) -> bool:
    if isinstance(fact, ImagesEmbedded):
        return bool(fact.images or fact.known or fact.failed or fact.pending or fact.job.labels or fact.job.reason)
    if isinstance(fact, DecisionSubmitted | ImagesRemoved):
        return not fact.sealed
    return not isinstance(fact, PetPurged)


def _images(facts: Iterable[Fact | None]) -> Iterator[str]:
    for fact in facts:
        if isinstance(fact, ImagesEmbedded):
            yield from (image.image_id for image in fact.images)
            yield from fact.known


def _of_facts(names: Topics, before: list[_Seen]) -> Iterator[Finding]:
    clear = [each.offset for each in before if each.tells and not each.keys]
    opened = [each.offset for each in before if each.tells and each.keys]
    for offsets, why in ((clear, "in the clear"), (opened, "sealed under a key that is not destroyed")):
        if offsets:
            what = f"{len(offsets)} facts {why}, at offsets {offsets_text(offsets)}"
            yield Finding(place=names.pet_log.name, verdict="left", what=what)


def _of_keys(names: Topics, retired: set[str], keys: Keys) -> Iterator[Finding]:
    place = names.pet_keys.name
    for key_id in sorted(retired):
        if key_id not in keys.last:
            what = f"key {key_id} is not there: whether somebody else has it, nobody can tell"
            yield Finding(place=place, verdict="left", what=what)
        elif keys.last[key_id].secret:
            yield Finding(place=place, verdict="left", what=f"key {key_id} still has its secret")
        elif old := keys.old_secrets.get(key_id):
            what = f"{old} older records of key {key_id} with its secret, until the topic is compacted (about an hour)"
            yield Finding(place=place, verdict="until", what=what)
    if keys.unreadable:
        what = f"{len(keys.unreadable)} records are no keys, at offsets {offsets_text(keys.unreadable)}"
        yield Finding(place=place, verdict="unseen", what=what)
