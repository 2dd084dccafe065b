"""What the fold must have sent, and the versions that follow from it. Called by audit.py."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from aiokafka import ConsumerRecord

from schemas.decisions import DECISION_SETTLED_TYPE
from schemas.headers import header
from tables.outputs import Channel
from tests.e2e.audit import by_version, public_number, version_messages, version_number
from tests.faults.case import Case, Finding
from tests.faults.evidence import ce_id
from tests.faults.oracle import PetOpinion


def outputs_are_sent(case: Case) -> Iterator[Finding]:
    """Whatever the fold must have sent stands in its topic, its repeats are identical, and there is nothing else."""
    topics: dict[Channel, list[ConsumerRecord]] = {
        "versions": [each for each in case.evidence.versions if not _is_settled(each)],
        "decisions": [each for each in case.evidence.versions if _is_settled(each)],
        "updated": case.evidence.public,
        "status": case.evidence.statuses,
        "deadletter": case.evidence.letters,
    }
    expected: dict[Channel, dict[str, bytes]] = defaultdict(dict)
    for _, output in case.offline.outputs:
        expected[output.channel][output.id] = output.value
    for channel, records in topics.items():
        sent: dict[str, set[bytes]] = defaultdict(set)
        for record in records:
            if header(record.headers, "ce_source") == "/fold":
                sent[ce_id(record)].add(record.value)
        for missing in expected[channel].keys() - sent.keys():
            yield Finding(f"sent_{channel}", f"never sent: {expected[channel][missing][:200]!r}")
        for identity, values in sent.items():
            wanted = expected[channel].get(identity)
            if values != {wanted}:
                yield Finding(f"sent_{channel}", f"{identity}: {len(values)} values, the log says {wanted!r:.200}")


def _is_settled(record: ConsumerRecord) -> bool:
    return header(record.headers, "ce_type") == DECISION_SETTLED_TYPE


def versions_are_whole(case: Case) -> Iterator[Finding]:
    """1…n in the topics and in Postgres, and the API says n."""
    messages = version_messages(case.offline)
    sent = by_version(case.evidence.versions, version_number)
    public = by_version(case.evidence.public, public_number)
    for pet in case.ledger.pets():
        last = case.offline.store.pet(pet).version
        numbers = list(range(1, last + 1))
        rows = case.evidence.version_rows.get(pet, [])
        if [version for version, _ in rows] != numbers:
            yield Finding("versions_in_postgres", f"{pet}: {len(rows)} rows, the log says 1 to {last}")
        if sorted(messages[pet]) != numbers or sorted(sent[pet]) != numbers:
            yield Finding("versions_on_topic", f"{pet}: {sorted(set(numbers) ^ set(sent[pet]))} of 1 to {last}")
        if sorted(public[pet]) != numbers:
            yield Finding("public_versions", f"{pet}: {sorted(set(numbers) ^ set(public[pet]))} of 1 to {last}")
        answer = case.answers.get(pet, {})
        images = len(case.opinions.get(pet, PetOpinion()).images)
        if last and (answer.get("version"), answer.get("image_count")) != (last, images):
            told = {name: answer.get(name) for name in ("version", "image_count", "error")}
            yield Finding("answer_is_current", f"{pet}: {told}, the log says version {last} with {images} images")
