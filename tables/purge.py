"""A purge: the pet's state becomes empty but for its numbers, and what came before it is ignored. Pure; see
docs/operations/purge.md.

A replay of a purged pet cannot open what the destroyed keys sealed. It skips those facts and takes the numbers that the
pet had from the purge, so that from there on it has the same state as the fold that could read all.
"""

from __future__ import annotations

from schemas.facts import ImagesEmbedded, PetPurged
from schemas.headers import is_up_to, parse_timestamp
from schemas.pet_keys import Destroyed, PetKey
from schemas.sealing import Sealable
from schemas.versions import PetErased
from tables.changes import Position
from tables.mixture import Mixture
from tables.outputs import Output, erased_output, gone_output, key_output
from tables.pet import Erased, Pet


def is_ignored(pet: Pet, fact: Sealable, at: Position) -> bool:
    """Whether the fact tells of what a purge has destroyed: it can no longer be opened, or soon not any more, or it was
    accepted before: its job, or what has no job itself.
    """
    if fact.sealed:
        return True
    erased = pet.erased
    if erased is None:
        return False
    accepted = fact.job.enqueued_at if isinstance(fact, ImagesEmbedded) else at.time
    return at.key_id in erased.keys or is_up_to(accepted, erased.accepted_until)


def purge(pet: Pet, fact: PetPurged, at: Position) -> list[Output]:
    """Empty `pet`, in place; returns what is to be sent. A repeated purge changes nothing and sends nothing."""
    before = pet.erased or Erased("", [], [])
    pet.last_offset = at.offset
    if fact.purge_id in before.purges:
        return []
    version = pet.version if fact.last_version < 0 else fact.last_version
    next_cluster = pet.next_cluster if fact.next_cluster < 0 else fact.next_cluster
    erased = Erased(
        max(before.accepted_until, fact.accepted_until, key=_moment),
        [*before.keys, *(key for key in fact.keys if key not in before.keys)],
        [*before.purges, fact.purge_id],
    )
    vars(pet).update(
        vars(
            Pet(
                pet.pet_id,
                Mixture(0),
                version=version,
                last_offset=at.offset,
                next_cluster=next_cluster,
                erased=erased,
            )
        )
    )
    destroyed = Destroyed(purge_id=fact.purge_id, last_version=version, next_cluster=next_cluster)
    return [
        erased_output(
            PetErased(
                pet_id=pet.pet_id,
                purge_id=fact.purge_id,
                version=version,
                time=at.time,
                partition=at.partition,
                offset=at.offset,
                accepted_until=erased.accepted_until,
                who=fact.who,
                why=fact.why,
            )
        ),
        gone_output(pet.pet_id, fact.purge_id),
        *(key_output(PetKey(key_id=key_id, pet_id=pet.pet_id, destroyed=destroyed)) for key_id in fact.keys),
    ]


def _moment(time: str) -> float:
    moment = parse_timestamp(time)
    return float("-inf") if moment is None else moment.timestamp()
