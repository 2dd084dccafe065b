"""A second opinion on what follows from the log: it imports nothing from `tables` and keeps no clusters, only sets.

Used by audit.py. An image belongs to its pet's album from the first fact on that carries it; a job ends with the fact
that settles the last of its commands, and each try of a command counts once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.codec import decode_fact
from schemas.facts import ImagesEmbedded
from schemas.topics import PARTITION_FACTS_KEY


@dataclass
class JobOpinion:
    """A run of a job. `tries`: command → its last try that counts; `settled`: commands that are done with."""

    parts: int = 1
    placed: int = 0
    known: int = 0
    failed: int = 0
    tries: dict[int, int] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)

    @property
    def ended(self) -> bool:
        """Whether all its commands are settled."""
        return len(self.settled) >= self.parts

    @property
    def status(self) -> str:
        """What it must have ended as; empty while it has not."""
        if not self.ended:
            return ""
        useless = self.failed > 0 and not self.placed + self.known
        return "failed" if useless else "succeeded"


@dataclass
class PetOpinion:
    """`images`: the album. `jobs`: by the key of the run. `facts`: how many of them repeated an earlier one."""

    images: set[str] = field(default_factory=set)
    jobs: dict[str, JobOpinion] = field(default_factory=dict)
    facts: int = 0
    repeats: int = 0


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
    new = {image.image_id for image in fact.images} - pet.images
    pet.images |= new
    context = fact.job
    job = pet.jobs.setdefault(context.key, JobOpinion(parts=context.parts))
    if context.parts != job.parts and not job.ended:
        job.parts, job.settled = context.parts, set()
    if job.ended or context.part in job.settled or context.attempt <= job.tries.get(context.part, 0):
        pet.repeats += 1
        return
    job.tries[context.part] = context.attempt
    lacking = set(fact.known) - pet.images
    job.placed += len(new)
    job.known += len(fact.known) - len(lacking) + len(fact.images) - len(new)
    job.failed += len(fact.failed) + len(lacking)
    if not fact.pending:
        job.settled.add(context.part)
