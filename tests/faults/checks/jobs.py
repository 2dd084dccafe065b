"""What was accepted is a command, every command is answered, every job ends once. Called by audit.py."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import lru_cache

from aiokafka import ConsumerRecord

from schemas.codec import decode_fact
from schemas.commands import EmbedImages, decode_command
from schemas.errors import DeadLetter
from schemas.facts import ImagesEmbedded
from tests.faults.case import ENDS, Case, Finding
from tests.faults.ledger import JobKey

Try = tuple[str, str, int, int]
"""A try of a command: pet, key of the job's run, part, attempt. Its repeats have the same."""


def accepted_stand_in_the_topic(case: Case) -> Iterator[Finding]:
    """What was accepted is commands, with all its images; by HTTP, that was the meaning of the 202."""
    for key, job in case.ledger.jobs.items():
        commands = [decode_command(record.value) for record in case.commands.get(key, ())]
        first = [command for command in commands if command.run == 1]
        how = f"accepted {job.times} times by {sorted(job.by)}"
        if not first:
            yield Finding("accepted_is_in_the_topic", f"{how}: no command", key)
        elif lost := set(job.image_ids) - {image_id for command in first for image_id in command.image_ids}:
            yield Finding("accepted_is_in_the_topic", f"{how}: no command has {sorted(lost)[:5]}", key)


def requeues_stand_in_the_topic(case: Case) -> Iterator[Finding]:
    """What an operator was told to be accepted is an action, and its commands are submitted."""
    for action_id in case.ledger.actions:
        if action_id not in case.actions:
            yield Finding("requeue_is_in_the_topic", f"action {action_id} was accepted and is not in its topic")
    submitted = {_try(command) for command in _commands(case.evidence.commands)}
    for action in case.actions.values():
        for command in action.commands:
            if _try(command) not in submitted:
                text = f"action {action.id}: its command {_try(command)} was not submitted"
                yield Finding("requeue_is_in_the_topic", text, (command.pet_id, command.job_id))


def commands_are_answered(case: Case) -> Iterator[Finding]:
    """Each command has its fact, or, when it named no image, the commands that stand for it; each fact that leaves
    images pending to a job without an end has its retry.

    Commands behind all that are answered are not judged: the roles were stopped before them.
    """
    facts = [fact for record in case.evidence.log if isinstance(fact := _fact(record), ImagesEmbedded)]
    answered = {
        (record.key.decode(), fact.job.key, fact.job.part, fact.job.attempt)
        for record in case.evidence.log
        if isinstance(fact := _fact(record), ImagesEmbedded)
    }
    commands = {_try(command): command for command in _commands(case.evidence.commands)}
    listed = {(pet, key) for (pet, key, _, _), command in commands.items() if command.image_ids}
    first: dict[Try, tuple[int, int]] = {}
    reached: dict[int, int] = defaultdict(lambda: -1)
    for record in case.evidence.commands:
        for command in _commands([record]):
            where = first.setdefault(_try(command), (record.partition, record.offset))
            if _try(command) in answered and where == (record.partition, record.offset):
                reached[record.partition] = max(reached[record.partition], record.offset)
    for each, (partition, offset) in first.items():
        stood_for = not commands[each].image_ids and each[:2] in listed
        if each not in answered and not stood_for and offset < reached[partition]:
            text = f"the command at {partition}/{offset}, {each}, has no fact; later ones have"
            yield Finding("every_command_is_answered", text, (each[0], commands[each].job_id))
    assert len(facts) >= len(answered)
    retries = {_try(command) for command in _commands(case.evidence.retries)} | commands.keys()
    yield from _retries_follow(case, retries)


def _retries_follow(case: Case, retries: set[Try]) -> Iterator[Finding]:
    last: dict[Try, ImagesEmbedded] = {}
    for record in case.evidence.log:
        if isinstance(fact := _fact(record), ImagesEmbedded):
            last[(record.key.decode(), fact.job.key, fact.job.part, fact.job.attempt)] = fact
    for (pet, key, part, attempt), fact in last.items():
        if not fact.pending or case.opinions[pet].jobs[key].ended or (pet, key, part, attempt + 1) in retries:
            continue
        text = f"part {part}, try {attempt} of {key} left {list(fact.pending)[:5]} pending, and there is no next try"
        yield Finding("every_retry_follows", text, (pet, fact.job.job_id))


def every_job_ended(case: Case) -> Iterator[Finding]:
    """In Postgres and on the topic, each run in exactly one way; a run that failed has one dead letter of the job."""
    for key in case.late:
        yield Finding("every_job_ends", "not in time", key)
    for key in case.ledger.jobs:
        row = case.evidence.job_rows.get(key)
        state = row["state"] if row else "unknown"
        if row is None or state not in ENDS:
            yield Finding("every_job_ends", f"is {state}", key)
            continue
        runs = case.runs(key)
        if row["run"] != max(runs):
            yield Finding("every_job_ends", f"Postgres is at run {row['run']} of {max(runs)}", key)
        yield from _runs_ended(case, key, runs)


def _runs_ended(case: Case, key: JobKey, runs: dict[int, int]) -> Iterator[Finding]:
    letters = Counter(letter["run"] for letter in case.letters.get(key, ()) if letter["subject"] == "job")
    for run, times in runs.items():
        outcomes = case.outcomes.get((*key, run), {})
        if not 1 <= len(outcomes) <= times:
            yield Finding("one_outcome", f"{len(outcomes)} different outcomes of run {run} on the topic", key)
        failed = sum(outcome["status"] == "failed" for outcome in outcomes.values())
        if letters[run] != failed:
            text = f"run {run} failed {failed} times, with {letters[run]} dead letters of the job"
            yield Finding("failed_is_dead_lettered", text, key)


def nothing_was_swept(case: Case) -> Iterator[Finding]:
    """The sweeper, the last resort behind every other rule, has found nothing."""
    for pet_id, job_id, sweeps in case.evidence.swept:
        yield Finding("nothing_is_swept", f"a command was submitted again {sweeps} times", (pet_id, job_id))


def _commands(records: list[ConsumerRecord]) -> Iterator[EmbedImages]:
    for record in records:
        try:
            yield decode_command(record.value)
        except DeadLetter:
            continue


def _try(command: EmbedImages) -> Try:
    return command.pet_id, command.job, command.part, command.attempt


def _fact(record: ConsumerRecord) -> object:
    return _decoded(record.value)


@lru_cache(maxsize=20_000)
def _decoded(value: bytes) -> object:
    try:
        return decode_fact(value)[1]
    except DeadLetter:
        return None
