"""The verdict on a run, from the outside. Called by run.py; controls.py expects its invariants, by name, to be broken.

A check returns what it found wrong, so that one run tells of everything; `paths.py` prints the way of the jobs named.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from aiokafka import ConsumerRecord

from schemas.commands import decode_command
from schemas.errors import DeadLetter
from schemas.headers import header
from tables.outputs import Channel
from tests.e2e.audit import OfflineFold, by_version, fold_offline, public_number, version_messages, version_number
from tests.faults.changelog import Recovered, recover
from tests.faults.evidence import Evidence, ce_id, decoded
from tests.faults.ledger import JobKey, Ledger, Post
from tests.faults.oracle import PetOpinion, second_opinion
from tests.faults.stack import Outages
from tests.faults.watch import Observations

DAMAGE: Final = ("referred to but missing", "events were skipped", "the table is damaged")
"""What a process writes when it finds that something was lost or corrupted before."""
SAMPLES_A_SECOND: Final = 0.5
"""Of the load's time at least; there are up to four, but Postgres is away now and then."""


@dataclass(frozen=True)
class Finding:
    """A broken invariant. `job`: the one it is about, where it is about one."""

    invariant: str
    text: str
    job: JobKey | None = None


@dataclass
class Case:
    """All that is known of a run. `logs`: what the processes wrote; `answers`: pet → what the API said at the end.

    `late`: jobs that had not ended when the time for it was up.
    """

    ledger: Ledger
    evidence: Evidence
    seen: Observations
    outages: Outages
    logs: dict[str, str]
    answers: dict[str, dict[str, object]]
    seconds: float
    late: list[JobKey] = field(default_factory=list)
    broken_promises: list[str] = field(default_factory=list)

    @cached_property
    def offline(self) -> OfflineFold:
        """The log folded here."""
        return fold_offline(self.evidence.log)

    @cached_property
    def recovered(self) -> Recovered:
        """The table as the changelog has it."""
        return recover(self.evidence.changelog)

    @cached_property
    def opinions(self) -> dict[str, PetOpinion]:
        """The second oracle's."""
        return second_opinion((record.key, record.value) for record in self.evidence.log)

    @cached_property
    def commands(self) -> dict[JobKey, list[ConsumerRecord]]:
        """The commands of each job in `media.jobs`."""
        found: dict[JobKey, list[ConsumerRecord]] = defaultdict(list)
        for record in self.evidence.commands:
            try:
                command = decode_command(record.value)
            except DeadLetter:
                continue
            found[(command.pet_id, command.job_id)].append(record)
        return found

    @cached_property
    def letters(self) -> dict[JobKey, list[dict[str, object]]]:
        """The dead letters about each job and its images, one for each id."""
        found: dict[JobKey, dict[str, dict[str, object]]] = defaultdict(dict)
        for record in self.evidence.letters:
            letter = decoded(record)
            found[(str(letter["pet_id"]), str(letter["job_id"]))].setdefault(ce_id(record), letter)
        return {job: list(letters.values()) for job, letters in found.items()}


Check = Callable[[Case], Iterator[Finding]]


def audit(case: Case) -> list[Finding]:
    """Everything that is wrong."""
    return [finding for check in CHECKS for finding in check(case)]


def accepted_stand_in_the_topic(case: Case) -> Iterator[Finding]:
    """What was accepted is a command; by HTTP, that was the meaning of the 202."""
    for key, job in case.ledger.jobs.items():
        if key not in case.commands:
            yield Finding(
                "accepted_is_in_the_topic", f"accepted {job.times} times by {sorted(job.by)}: no command", key
            )


def every_job_ended(case: Case) -> Iterator[Finding]:
    """In Postgres, in exactly one way, which is the one on the topic and the one the oracle says."""
    for key in case.late:
        yield Finding("every_job_ends", "not in time", key)
    outcomes: dict[JobKey, set[bytes]] = defaultdict(set)
    for record in case.evidence.statuses:
        status = decoded(record)
        if status["status"] in ("succeeded", "failed"):
            outcomes[(status["pet_id"], status["job_id"])].add(record.value)
    for key in case.ledger.jobs:
        row = case.evidence.job_rows.get(key)
        state = row["state"] if row else "unknown"
        if state not in ("succeeded", "failed"):
            yield Finding("every_job_ends", f"is {state}", key)
            continue
        if len(outcomes[key]) != 1:
            yield Finding("one_outcome", f"{len(outcomes[key])} different outcomes on the topic", key)
        about_job = [letter for letter in case.letters.get(key, ()) if letter["subject"] == "job"]
        if len(about_job) != (state == "failed"):
            yield Finding("failed_is_dead_lettered", f"{state}, with {len(about_job)} dead letters of the job", key)


def images_are_accounted_for(case: Case) -> Iterator[Finding]:
    """Every image that exists is in the album, every other has a dead letter that says so."""
    for key, job in case.ledger.jobs.items():
        opinion = case.opinions.get(job.pet_id, PetOpinion())
        if lost := job.wanted - opinion.images:
            yield Finding("every_image_is_placed", f"not in the album: {sorted(lost)}", key)
        dead = {
            letter["image_id"]: letter["kind"] for letter in case.letters.get(key, ()) if letter["subject"] == "image"
        }
        if dead != dict.fromkeys(job.missing, "not_found"):
            yield Finding("missing_is_dead_lettered", f"missing {sorted(job.missing)}, dead letters {dead}", key)


def table_is_the_log(case: Case) -> Iterator[Finding]:
    """What a new worker would recover is what the log says, byte for byte; nobody wrote anything else meanwhile."""
    for partition, offset, reason in case.offline.refused:
        yield Finding("table_is_log", f"the fact at {partition}/{offset} was refused: {reason}")
    recovered = OfflineFold(case.recovered.rows, [], [])
    for pet in sorted({record.key.decode() for record in case.evidence.log} - {"/partition"}):
        try:
            same = recovered.store.state(pet) == case.offline.store.state(pet)
        except Exception as error:  # whatever a damaged table raises is a finding
            yield Finding("table_is_log", f"{pet}: cannot be read back: {error!r}")
            continue
        if not same:
            last = recovered.store.pet(pet).last_offset, case.offline.store.pet(pet).last_offset
            yield Finding("table_is_log", f"{pet}: the table stands at log offset {last[0]}, the log at {last[1]}")
    for text in case.recovered.went_back:
        yield Finding("zombie_writes_nothing", f"a head went back: {text}")
    for text in case.recovered.rewritten:
        yield Finding("zombie_writes_nothing", f"a row was rewritten: {text}")


def outputs_are_sent(case: Case) -> Iterator[Finding]:
    """Whatever the fold must have sent stands in its topic, its repeats are identical, and there is nothing else."""
    topics: dict[Channel, list[ConsumerRecord]] = {
        "versions": case.evidence.versions,
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


def second_oracle_agrees(case: Case) -> Iterator[Finding]:
    """On the albums' images, on counts, and on how each job ended."""
    for pet in case.ledger.pets():
        opinion = case.opinions.get(pet, PetOpinion())
        members = Counter(case.evidence.members.get(pet, []))
        if members != Counter(opinion.images):
            both = members.keys() ^ opinion.images
            yield Finding("oracle_membership", f"{pet}: {len(members)} images in Postgres; differ: {sorted(both)[:5]}")
        counts = {
            "table": case.offline.store.pet(pet).image_count,
            "postgres": (case.evidence.version_rows.get(pet) or [(0, 0)])[-1][1],
            "jobs": sum(job.placed for job in opinion.jobs.values()),
        }
        if set(counts.values()) != {len(opinion.images)}:
            yield Finding("oracle_counts", f"{pet}: {counts}, the album has {len(opinion.images)}")
        for job_id, job in opinion.jobs.items():
            row = case.evidence.job_rows.get((pet, job_id))
            told = {name: row[name] for name in ("state", "placed", "known", "failed")} if row else None
            wanted = {"state": job.status, "placed": job.placed, "known": job.known, "failed": job.failed}
            if told != wanted and "#" not in job_id:
                yield Finding("oracle_jobs", f"Postgres says {told}, the oracle {wanted}", (pet, job_id))


def samples_were_right(case: Case) -> Iterator[Finding]:
    """At every moment of the run, not only at its end."""
    seen = case.seen
    if seen.samples < case.seconds * SAMPLES_A_SECOND:
        yield Finding("sampled", f"only {seen.samples} samples in {case.seconds:.0f} s")
    for invariant, texts in (
        ("versions_monotonic", seen.not_monotonic),
        ("cache_never_ahead", seen.ahead),
        ("cache_follows", seen.behind),
    ):
        for text in list(dict.fromkeys(texts))[:5]:
            yield Finding(invariant, text)


def poison_is_buried(case: Case) -> Iterator[Finding]:
    """Every entry that is no job has one dead letter, with its bytes and a cause."""
    found: dict[str, list[dict[str, object]]] = defaultdict(list)
    ids: set[str] = set()
    for record in case.evidence.letters:
        letter = decoded(record)
        if letter["subject"] == "entry" and ce_id(record) not in ids:
            ids.add(ce_id(record))
            found[str(letter["source_id"]).rpartition("/")[2]].append(letter)
    for entry_id, payload in case.ledger.poison.items():
        letters = found[entry_id]
        if len(letters) != 1:
            yield Finding("poison_is_buried", f"entry {entry_id} has {len(letters)} dead letters: {payload[:80]!r}")
        elif not letters[0]["reason"] or (payload and base64.b64decode(str(letters[0]["payload"])) != payload):
            yield Finding("poison_is_buried", f"entry {entry_id}: without cause, or with other bytes: {letters[0]}")


def nothing_else_is_dead_lettered(case: Case) -> Iterator[Finding]:
    """Dead letters are about poison, missing images, and jobs of which nothing was left; all else is a mistake."""
    for record in case.evidence.letters:
        letter = decoded(record)
        if letter["subject"] not in ("entry", "image", "job"):
            told = {name: letter[name] for name in ("subject", "kind", "reason", "source_id")}
            yield Finding("nothing_else_is_dead_lettered", f"{told}")


def posts_without_redis(case: Case) -> Iterator[Finding]:
    """While Redis is away and nothing that a POST needs is, every POST is answered with 202."""
    for post in posts_in_question(case):
        if post.status != 202:
            yield Finding("post_without_redis", f"status {post.status} after {post.ended - post.begun:.1f} s")


def posts_in_question(case: Case) -> list[Post]:
    """The attempts that `posts_without_redis` counts."""
    spans = case.outages.spans
    others = [span for name in ("web", "kafka") for span in spans[name]]
    return [
        post
        for post in case.ledger.posts
        if any(since <= post.begun and post.ended <= until for since, until in spans["redis"])
        and not any(post.begun <= until and since <= post.ended for since, until in others)
    ]


def nothing_was_damaged(case: Case) -> Iterator[Finding]:
    """No process found its state damaged or an event skipped; every zombie ended itself."""
    for name, log in case.logs.items():
        for line in log.splitlines():
            if any(word in line for word in DAMAGE):
                yield Finding("no_damage", f"{name}: {line[:300]}")
    for text in case.broken_promises:
        yield Finding("zombie_ends_itself", text)


CHECKS: tuple[Check, ...] = (
    accepted_stand_in_the_topic,
    every_job_ended,
    images_are_accounted_for,
    table_is_the_log,
    outputs_are_sent,
    versions_are_whole,
    second_oracle_agrees,
    samples_were_right,
    poison_is_buried,
    nothing_else_is_dead_lettered,
    posts_without_redis,
    nothing_was_damaged,
)
