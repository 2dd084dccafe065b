"""The whole way of a job that a finding is about: commands, facts, versions, states, dead letters, exits.

Called by run.py when the audit is red.
"""

from __future__ import annotations

from collections.abc import Iterator

from schemas.codec import decode_fact, decode_message
from schemas.errors import DeadLetter
from schemas.facts import ImagesEmbedded
from schemas.versions import PetVersion
from tests.faults.case import Case
from tests.faults.evidence import ce_id, decoded
from tests.faults.ledger import JobKey
from tests.faults.supervised import Exit


def path_of(case: Case, key: JobKey) -> Iterator[str]:
    """Lines."""
    pet_id, job_id = key
    job = case.ledger.jobs.get(key)
    if job is not None:
        yield f"accepted  {job.times} times by {sorted(job.by)}, images {list(job.image_ids)}"
    for record in case.commands.get(key, ()):
        command = decoded(record)
        part = f"run {command['run']} part {command['part']}/{command['parts']} attempt {command['attempt']}"
        yield f"command   {record.partition}/{record.offset} {ce_id(record)} {part} from {command['source']}"
    for record in case.evidence.retries:
        retry = decoded(record)
        if (retry["pet_id"], retry["job_id"]) == key:
            yield f"retry     {record.topic}/{record.partition}/{record.offset} attempt {retry['attempt']}"
    yield from _facts(case, pet_id, job_id)
    for record in case.evidence.versions:
        version = decode_message(record.value)
        if isinstance(version, PetVersion) and (version.pet_id, version.job_id) == key:
            yield f"version   {record.partition}/{record.offset} v{version.version} of log offset {version.offset}"
    for record in case.evidence.statuses:
        status = decoded(record)
        if (status["pet_id"], status["job_id"]) == key:
            yield f"status    {record.partition}/{record.offset} {record.value.decode()[:300]}"
    for letter in case.letters.get(key, ()):
        yield f"letter    {letter['subject']} {letter['image_id']} {letter['kind']}: {letter['reason']}"
    yield f"postgres  {case.evidence.job_rows.get(key)}"


def _facts(case: Case, pet_id: str, job_id: str) -> Iterator[str]:
    for record in case.evidence.log:
        try:
            _, fact = decode_fact(record.value)
        except DeadLetter as error:
            yield f"fact      {record.partition}/{record.offset} unreadable: {error}"
            continue
        if record.key == pet_id.encode() and isinstance(fact, ImagesEmbedded) and fact.job.job_id == job_id:
            images = [image.image_id for image in fact.images]
            rest = f"known {list(fact.known)} failed {[f.image_id for f in fact.failed]} pending {list(fact.pending)}"
            where = f"{record.partition}/{record.offset} {ce_id(record)} attempt {fact.job.attempt}"
            yield f"fact      {where} images {images} {rest}"


def exits_of(exits: list[Exit], begun: float) -> Iterator[str]:
    """Lines: which process ended when, how, and after how long."""
    for each in exits:
        why = each.asked or "by itself"
        yield f"exit      {each.at - begun:6.1f} s  {each.name:9} code {each.code:3} after {each.lived:.1f} s, {why}"
