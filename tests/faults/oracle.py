"""A second opinion on what follows from the log: it imports nothing from `tables` and keeps no clusters, only sets.

Used by audit.py. An image belongs to its pet's album from the first fact on that carries it. A job ends with the fact
that settles the last of its commands, and each image of a command counts once:

    a later try of the command     its images count
    the same try once more         those images count that were pending in it before and are not pending now
    an earlier try                 those images count that are new to the album

An image counts as placed when it is new to the album, as failed when it has failed or the album lacks it, else as
known. When nothing is left pending, the command is settled. While a pet's list could not be had, the list is what is
pending, and the next try names other images; a repeat of a try that lacks the list, behind one that had it, tells
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.codec import decode_fact
from schemas.facts import WHOLE_LIST, ImagesEmbedded
from schemas.topics import PARTITION_FACTS_KEY


@dataclass
class CommandOpinion:
    """A command of a run. `attempt`: its last try; `pending`: what that one has left; `counted`: images done with."""

    attempt: int = 0
    pending: set[str] = field(default_factory=set)
    counted: set[str] = field(default_factory=set)
    settled: bool = False


@dataclass
class JobOpinion:
    """A run of a job. `commands`: by (parts, part), since a job may be split anew."""

    placed: int = 0
    known: int = 0
    failed: int = 0
    commands: dict[tuple[int, int], CommandOpinion] = field(default_factory=dict)
    ended: bool = False

    @property
    def status(self) -> str:
        """What it must have ended as; empty while it has not."""
        if not self.ended:
            return ""
        useless = self.failed > 0 and not self.placed + self.known
        return "failed" if useless else "succeeded"

    @property
    def told(self) -> tuple[str, int, int, int]:
        """(status, placed, known, failed)."""
        return self.status, self.placed, self.known, self.failed


@dataclass
class PetOpinion:
    """`images`: the album; `unclaimed`: those of them that came with a fact that counts for no job.

    `jobs`: by the key of the run. `facts`: how many there are, `repeats`: how many of them come again.
    `unfounded`: (job, image) that a fact called known before any fact had carried the image.
    """

    images: set[str] = field(default_factory=set)
    unclaimed: set[str] = field(default_factory=set)
    jobs: dict[str, JobOpinion] = field(default_factory=dict)
    facts: int = 0
    repeats: int = 0
    unfounded: list[tuple[str, str]] = field(default_factory=list)


def second_opinion(log: Iterable[tuple[bytes | None, bytes | None]]) -> dict[str, PetOpinion]:
    """Pet → opinion. `log`: keys and values, the records of each partition in order; other facts are not known here."""
    pets: dict[str, PetOpinion] = {}
    for key, value in log:
        if not key or key == PARTITION_FACTS_KEY.encode() or value is None:
            continue
        _, fact = decode_fact(value)
        if isinstance(fact, ImagesEmbedded):
            _count(pets.setdefault(key.decode(), PetOpinion()), fact)
    return pets


def _count(pet: PetOpinion, fact: ImagesEmbedded) -> None:
    pet.facts += 1
    context = fact.job
    new = {image.image_id for image in fact.images} - pet.images
    pet.images |= new
    pet.unfounded += [(context.job_id, image_id) for image_id in fact.known if image_id not in pet.images]
    job = pet.jobs.setdefault(context.key, JobOpinion())
    command = job.commands.setdefault((context.parts, context.part), CommandOpinion())
    if job.ended or command.settled:
        pet.repeats += 1
        pet.unclaimed |= new
        return
    pet.repeats += context.attempt <= command.attempt
    due, command.pending = _judge(command, fact, new)
    failed = {failed.image_id for failed in fact.failed} | (set(fact.known) - pet.images)
    job.placed += len(due & new)
    job.failed += len((due & failed) - new)
    job.known += len(due - failed - new)
    pet.unclaimed |= new - due
    command.counted |= due
    command.attempt = max(command.attempt, context.attempt)
    command.settled = not command.pending
    settled = [each.settled for (parts, _), each in job.commands.items() if parts == context.parts]
    job.ended = sum(settled) >= context.parts


def _judge(command: CommandOpinion, fact: ImagesEmbedded, new: set[str]) -> tuple[set[str], set[str]]:
    """The images that the fact counts, and what is pending behind it."""
    named = {image.image_id for image in fact.images} | set(fact.known) | {failed.image_id for failed in fact.failed}
    left = set(fact.pending)
    if fact.job.attempt > command.attempt or (WHOLE_LIST in command.pending and fact.job.attempt == command.attempt):
        return named - command.counted, left - command.counted
    if fact.job.attempt == command.attempt:
        if WHOLE_LIST in left:
            return set(), command.pending
        due = (command.pending - left) | new
        return due - command.counted, command.pending & left
    return new - command.counted, command.pending - new
