"""Dead letters: of what they must be, how many, and what Postgres keeps of them. Called by audit.py."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from tests.faults.case import Case, Finding
from tests.faults.evidence import ce_id, decoded
from tests.faults.ledger import Job
from tests.faults.oracle import PetOpinion
from tests.faults.poison import ENTRY_KINDS, buried_bytes
from tests.faults.storage import MISSING


def images_are_accounted_for(case: Case) -> Iterator[Finding]:
    """Every image that exists is in the album, every other has one dead letter a run, which says so."""
    for key, job in case.ledger.jobs.items():
        opinion = case.opinions.get(job.pet_id, PetOpinion())
        if lost := job.wanted - opinion.images:
            yield Finding("every_image_is_placed", f"not in the album: {sorted(lost)}", key)
        dead = Counter(
            (letter["run"], letter["image_id"], letter["kind"])
            for letter in case.letters.get(key, ())
            if letter["subject"] == "image"
        )
        if dead != (wanted := _dead_images(case, job)):
            text = f"lacks dead letters {dict(wanted - dead)}, has too many {dict(dead - wanted)}"
            yield Finding("missing_is_dead_lettered", text, key)


def _dead_images(case: Case, job: Job) -> Counter[tuple[int, str, str]]:
    """(run, image, kind) → letters that there must be."""
    wanted = Counter((1, image_id, "not_found") for image_id in job.missing)
    for run, requeues in case.requeued.get((job.pet_id, job.job_id), {}).items():
        for images in requeues.values():
            wanted.update((run, image_id, "not_found") for image_id in images if image_id.startswith(MISSING))
    return wanted


def poison_is_buried(case: Case) -> Iterator[Finding]:
    """Every entry that is no job has one dead letter, with its bytes and a cause; no other entry has one.

    An entry whose XADD was not answered may have one more: it was sent again, and may have been taken both times.
    """
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    ids: set[str] = set()
    for record in case.evidence.letters:
        letter = decoded(record)
        if letter["subject"] == "entry" and ce_id(record) not in ids:
            ids.add(ce_id(record))
            found[str(letter["source_id"]).rpartition("/")[2]].append(letter)
    for entry_id, fields in case.ledger.poison.items():
        letters = found.pop(entry_id, [])
        if len(letters) != 1:
            yield Finding("poison_is_buried", f"entry {entry_id} has {len(letters)} dead letters: {fields!r:.120}")
        elif (
            letters[0]["kind"] not in ENTRY_KINDS
            or not letters[0]["reason"]
            or _bytes(letters[0]) != buried_bytes(fields)
        ):
            yield Finding("poison_is_buried", f"entry {entry_id}: no cause, or other bytes: {letters[0]!r:.300}")
    doubtful = Counter(map(buried_bytes, case.ledger.doubtful))
    for entry_id, letters in found.items():
        for letter in letters:
            payload = _bytes(letter)
            doubtful[payload] -= 1
            if doubtful[payload] < 0 or letter["kind"] not in ENTRY_KINDS:
                told = {name: letter[name] for name in ("kind", "reason", "pet_id", "job_id")}
                yield Finding("nothing_else_is_dead_lettered", f"entry {entry_id} is none of ours: {told}")


def nothing_else_is_dead_lettered(case: Case) -> Iterator[Finding]:
    """Dead letters are about poison, missing images, and jobs of which nothing was left; all else is a mistake."""
    for record in case.evidence.letters:
        letter = decoded(record)
        job = (letter["pet_id"], letter["job_id"])
        known = letter["subject"] == "entry" or (letter["subject"] in ("image", "job") and job in case.ledger.jobs)
        if not known:
            told = {name: letter[name] for name in ("subject", "kind", "reason", "source_id")}
            yield Finding("nothing_else_is_dead_lettered", f"{job}: {told}")


def letters_are_rows(case: Case) -> Iterator[Finding]:
    """Postgres keeps every letter of the topic, and what operators did with it: a requeue stands over a discard."""
    told = {ce_id(record) for record in case.evidence.letters}
    kept = case.evidence.letter_rows
    if told != kept.keys():
        yield Finding(
            "letters_in_postgres",
            f"only on the topic {sorted(told - kept.keys())}, only in rows {sorted(kept.keys() - told)}",
        )
    states = dict.fromkeys(kept, "open")
    for kind, state in (("discard", "discarded"), ("requeue", "requeued")):
        for action in case.actions.values():
            if action.kind == kind:
                states |= dict.fromkeys(action.letters, state)
    for letter_id in sorted(states.keys() & kept.keys()):
        if states[letter_id] != kept[letter_id]:
            yield Finding("letters_in_postgres", f"letter {letter_id} is {kept[letter_id]}, not {states[letter_id]}")


def _bytes(letter: dict[str, Any]) -> bytes:
    return base64.b64decode(str(letter["payload"]))
