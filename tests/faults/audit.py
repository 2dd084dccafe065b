"""The verdict on a run, from the outside. Called by run.py; controls.py expects its invariants, by name, to be broken.

A check returns what it found wrong, so that one run tells of everything; `paths.py` prints the way of the jobs named.
"""

from __future__ import annotations

from tests.faults.case import Case, Check, Finding
from tests.faults.checks.http import no_500, posts_without_redis
from tests.faults.checks.jobs import (
    accepted_stand_in_the_topic,
    commands_are_answered,
    every_job_ended,
    nothing_was_swept,
    requeues_stand_in_the_topic,
)
from tests.faults.checks.letters import (
    images_are_accounted_for,
    letters_are_rows,
    nothing_else_is_dead_lettered,
    poison_is_buried,
)
from tests.faults.checks.opinions import second_oracle_agrees
from tests.faults.checks.outputs import outputs_are_sent, versions_are_whole
from tests.faults.checks.processes import exits_were_foreseen, nothing_was_damaged, run_was_whole, samples_were_right
from tests.faults.checks.table import table_is_the_log

CHECKS: tuple[Check, ...] = (
    accepted_stand_in_the_topic,
    requeues_stand_in_the_topic,
    commands_are_answered,
    every_job_ended,
    nothing_was_swept,
    images_are_accounted_for,
    table_is_the_log,
    outputs_are_sent,
    versions_are_whole,
    second_oracle_agrees,
    samples_were_right,
    poison_is_buried,
    nothing_else_is_dead_lettered,
    letters_are_rows,
    posts_without_redis,
    no_500,
    exits_were_foreseen,
    nothing_was_damaged,
    run_was_whole,
)


def audit(case: Case) -> list[Finding]:
    """Everything that is wrong."""
    return [finding for check in CHECKS for finding in check(case)]
