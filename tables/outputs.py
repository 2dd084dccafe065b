"""What the fold sends for an event: messages for the projections and for other teams. Pure.

An output is stored with the event's rows before it is sent, and sent again byte for byte when the event is read again.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from heapq import nlargest
from typing import Final, Literal

import msgspec

from schemas import public
from schemas.codec import encode_version
from schemas.decisions import DECISION_SETTLED_TYPE, DecisionSettled
from schemas.facts import Policy
from schemas.ids import cluster_id, message_id
from schemas.pet_keys import PET_KEY_TYPE, PetKey, decode_key, encode_key
from schemas.versions import PET_ERASED_TYPE, PET_VERSION_TYPE, PetErased, PetVersion
from tables.faces import Face, FaceOf
from tables.pet import Listed, Pet
from tables.shown import View

Channel = Literal["versions", "decisions", "updated", "status", "deadletter", "keys"]

_json: Final = msgspec.json.Encoder()


class Output(msgspec.Struct, frozen=True, array_like=True):
    """One message: `channel` names the topic, `type` and `id` are its `ce_type` and `ce_id`. Empty: a tombstone."""

    channel: Channel
    type: str
    id: str
    value: bytes

    @property
    def key(self) -> bytes:
        """Its Kafka key where that is not the pet's id; the partition is the pet's all the same."""
        return decode_key(self.value).key_id.encode() if self.channel == "keys" else b""


def version_output(version: PetVersion) -> Output:
    """The message on `media.pet-versions`."""
    identity = message_id("version", version.pet_id, version.version)
    return Output("versions", PET_VERSION_TYPE, identity, encode_version(version))


def updated_output(pet_id: str, version: int, value: bytes) -> Output:
    """The message on `media.clusters.updated`."""
    return Output("updated", public.CLUSTERS_UPDATED_TYPE, message_id("updated", pet_id, version), value)


def settled_output(settled: DecisionSettled) -> Output:
    """What became of a decision, on `media.pet-versions`."""
    identity = message_id("decision-settled", settled.pet_id, settled.decision_id, settled.offset)
    return Output("decisions", DECISION_SETTLED_TYPE, identity, encode_version(settled))


def erased_output(erased: PetErased) -> Output:
    """The message of a purge on `media.pet-versions`."""
    identity = message_id("erased", erased.pet_id, erased.purge_id)
    return Output("versions", PET_ERASED_TYPE, identity, encode_version(erased))


def gone_output(pet_id: str, purge_id: str) -> Output:
    """The tombstone on `media.clusters.updated`."""
    return Output("updated", public.CLUSTERS_UPDATED_TYPE, message_id("gone", pet_id, purge_id), b"")


def key_output(key: PetKey) -> Output:
    """What is left of a key, on `media.pet-keys`."""
    return Output("keys", PET_KEY_TYPE, message_id("key-destroyed", key.key_id), encode_key(key))


def status_output(status: public.JobStatus, key: str) -> Output:
    """The message on `media.jobs.status`. `key`: of the job's run, as `JobContext.key` has it."""
    identity = message_id("status", status.pet_id, key, status.attempt, status.status)
    return Output("status", public.JOB_STATUS_TYPE, identity, _json.encode(status))


def dead_letter_output(record: public.DeadLetterRecord) -> Output:
    """The message on `media.deadletter`."""
    identity = message_id("deadletter", record.subject, record.source_id, record.pet_id, record.job_id, record.run)
    return Output("deadletter", public.DEAD_LETTER_TYPE, identity, _json.encode(record))


def snapshot(pet: Pet, view: View, face: FaceOf, policy: Policy, touched: Set[int], *, job_id: str, time: str) -> bytes:
    """The value on `media.clusters.updated`: bounded, changed clusters first, then the largest.

    `touched`: clusters that this version changed; their members are listed until the policy's bound is reached.
    """
    clusters = view.clusters
    limit, counts = policy.max_snapshot_clusters, clusters.counts(pet.mixture)
    # So that hundreds of small ones are not sorted.
    least = nlargest(limit, counts.values())[-1] if counts and limit else 0
    large = [number for number, count in counts.items() if count >= least]
    shown = sorted(
        {*large, *(touched & clusters.numbers())}, key=lambda number: (number not in touched, -counts[number], number)
    )[:limit]
    room, faces = policy.max_snapshot_members, []
    for number in shown:
        shown_face = face(number)
        members = shown_face.members[: min(room, policy.max_cluster_size)] if number in touched else []
        room -= len(members)
        faces.append(_snapshot_cluster(pet, shown_face, members))
    message = public.ClustersUpdated(
        pet_id=pet.pet_id,
        version=pet.version,
        updated_at=time,
        job_id=job_id,
        cluster_count=len(clusters),
        image_count=view.image_count,
        unclustered_count=view.unclustered_count,
        clusters=tuple(faces),
        link=f"/internal/pets/{pet.pet_id}/clusters/latest",
    )
    return _json.encode(message)


def _snapshot_cluster(pet: Pet, face: Face, shown: Sequence[Listed]) -> public.SnapshotCluster:
    return public.SnapshotCluster(
        id=cluster_id(pet.pet_id, face.number),
        label=face.label,
        hero_image_id=face.heroes[0].image_id,
        member_count=face.member_count,
        members=tuple(public.SnapshotMember(m.image_id, m.score) for m in shown),
    )
