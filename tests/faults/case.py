"""All that is known of a run, and what is derived from it once. Made by run.py, judged by checks/."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from aiokafka import ConsumerRecord

from schemas.commands import decode_command
from schemas.dead_letters import DeadLetterAction, decode_action
from schemas.errors import DeadLetter
from tests.e2e.audit import OfflineFold, fold_offline
from tests.faults.changelog import Recovered, recover
from tests.faults.evidence import Evidence, ce_id, decoded
from tests.faults.ledger import JobKey, Ledger
from tests.faults.oracle import PetOpinion, second_opinion
from tests.faults.stack import Outages
from tests.faults.supervised import Exit
from tests.faults.watch import Observations

ENDS = ("succeeded", "failed")


@dataclass(frozen=True)
class Finding:
    """A broken invariant. `job`: the one it is about, where it is about one."""

    invariant: str
    text: str
    job: JobKey | None = None


@dataclass
class Case:
    """All that is known of a run. `logs`: what the processes wrote; `answers`: pet → what the API said at the end.

    `struck`: fault → how often. `late`: jobs that had not ended when the time for it was up. `unfinished`: what the
    suite itself could not bring to its end.
    """

    ledger: Ledger
    evidence: Evidence
    seen: Observations
    outages: Outages
    logs: dict[str, str]
    answers: dict[str, dict[str, object]]
    seconds: float
    struck: dict[str, int] = field(default_factory=dict)
    exits: list[Exit] = field(default_factory=list)
    late: list[JobKey] = field(default_factory=list)
    broken_promises: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)

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
    def letters(self) -> dict[JobKey, list[dict[str, Any]]]:
        """The dead letters about each job and its images, one for each id."""
        found: dict[JobKey, dict[str, dict[str, Any]]] = defaultdict(dict)
        for record in self.evidence.letters:
            letter = decoded(record)
            found[(str(letter["pet_id"]), str(letter["job_id"]))].setdefault(ce_id(record), letter)
        return {job: list(letters.values()) for job, letters in found.items()}

    @cached_property
    def outcomes(self) -> dict[tuple[str, str, int], dict[bytes, dict[str, Any]]]:
        """(pet, job, run) → the different ends on the topic."""
        found: dict[tuple[str, str, int], dict[bytes, dict[str, Any]]] = defaultdict(dict)
        for record in self.evidence.statuses:
            status = decoded(record)
            if status["status"] in ENDS:
                found[(status["pet_id"], status["job_id"], status["run"])][record.value] = status
        return found

    @cached_property
    def actions(self) -> dict[str, DeadLetterAction]:
        """What operators did with dead letters, by id."""
        return {ce_id(record): decode_action(record.value) for record in self.evidence.actions}

    @cached_property
    def requeued(self) -> dict[JobKey, dict[int, dict[str, set[str]]]]:
        """Job → run → requeue → the images that it names."""
        found: dict[JobKey, dict[int, dict[str, set[str]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
        for action in self.actions.values():
            for command in action.commands:
                found[(command.pet_id, command.job_id)][command.run][command.requeue] |= set(command.image_ids)
        return found

    def runs(self, key: JobKey) -> dict[int, int]:
        """Run → how often it was begun: the first once, a further one by each requeue."""
        return {1: 1} | {run: len(requeues) for run, requeues in self.requeued.get(key, {}).items()}


Check = Callable[[Case], Iterator[Finding]]
