"""Expects the audit to go red when a protection is off, on an invariant named here. Called by __main__.py.

A control has the faults that its protection is for, so that a few seeds are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.service import ROLES
from tests.faults.registry import chosen
from tests.faults.run import Result, Say, run_seed
from tests.faults.without import ACTED, STARTED

MOST_SEEDS: Final = 5
LEAST_ENDED: Final = 0.5
"""Part of the jobs that must end for a red seed to count: a role that is broken outright proves nothing."""


@dataclass(frozen=True)
class Control:
    """`off`: the protection; `faults`: names or their beginnings; `red`: one of these must break; empty: none may.

    `elsewhere`: the test that goes red without the protection, where no seed does.
    """

    off: str
    faults: tuple[str, ...]
    red: tuple[str, ...]
    elsewhere: str = ""


@dataclass
class Verdict:
    """What a control came to. `broken`: invariants of the last seed; `why_not`: for each seed that was red and does not
    count, the reason.
    """

    control: Control
    seeds: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    why_not: list[str] = field(default_factory=list)
    red: bool = False

    @property
    def as_expected(self) -> bool:
        """Red on a named invariant, for the reason that was expected; or green where nothing was off, or where it is
        another test that goes red.
        """
        green = not self.broken and not self.why_not
        return self.red or (green and (not self.control.red or bool(self.control.elsewhere)))


# `every_job_ends` is in none of these: a service that is slow, or broken by the patch, breaks it too. What a lost job
# has lost is: its command, the fact behind it, the retry behind that, an image that the worker remembers from a fact
# that is nowhere, or what the fold must have sent.
UNANSWERED: Final = ("every_command_is_answered", "every_retry_follows")
UNSENT: Final = ("sent_versions", "sent_updated", "sent_status")
CONTROLS: Final = (
    Control("nothing", ("kill", "second_worker", "broker_kill", "storage_slow"), ()),
    # Faust commits past what is not acknowledged only while nothing has been committed for a partition: for a second of
    # a partition's life, which a kill must hit.
    Control(
        "ordered_ack",
        ("kill_embed", "storage_slow"),
        UNANSWERED,
        elsewhere="tests/unit/test_delivery.py: test_acknowledgements_are_in_order_whatever_finishes_first",
    ),
    Control(
        "durable_before_ack",
        ("kill_embed", "kill_fold"),
        (*UNANSWERED, *UNSENT, "known_is_in_the_log", "table_is_log", "no_damage"),
    ),
    Control("outbox", ("kill_fold",), UNSENT),
    Control("recovery_mend", ("kill_fold", "state_lost_fold", "second_worker_fold"), ("no_damage", "table_is_log")),
    Control("version_guard", ("kill_fold", "kill_project"), ("nothing_else_is_dead_lettered", "oracle_membership")),
    Control("xack_after_ack", ("kill_bridge", "broker_kill"), ("accepted_is_in_the_topic", "poison_is_buried")),
)


def does_not_count(control: Control, result: Result) -> str:
    """Why this red seed says nothing about the protection; empty when it does."""
    broken = {finding.invariant for finding in result.findings}
    if not broken & set(control.red):
        return f"red on {sorted(broken)}, not on any of {list(control.red)}"
    if result.counts["jobs ended"] < LEAST_ENDED * result.jobs:
        return f"only {result.counts['jobs ended']} of {result.jobs} jobs ended: the patch broke the role outright"
    if exits := [finding.text for finding in result.findings if finding.invariant == "no_unforeseen_exit"]:
        return f"a process ended for another reason: {exits[0]}"
    return ""


def not_in_force(control: Control, result: Result) -> str:
    """Why the patch was not in force; empty when each process says that it was, and one that it made a difference."""
    if bare := [
        name for name, said in result.patches.items() if name in ROLES and STARTED.format(control.off) not in said
    ]:
        return f"not in force in {', '.join(bare)}"
    acted = any(ACTED.format(control.off) in said for said in result.patches.values())
    return "" if acted or not control.red else "the patched code was never run"


async def run_control(control: Control, seconds: float, say: Say, keep: Path) -> Verdict:
    """Seed after seed until one is red for the right reason, at most `MOST_SEEDS`."""
    verdict = Verdict(control)
    for seed in range(1, MOST_SEEDS + 1):
        result = await run_seed(
            seed,
            seconds,
            chosen(control.faults),
            off=control.off,
            say=say,
            keep=keep / control.off / str(seed),
        )
        verdict.seeds.append(seed)
        verdict.broken = list(dict.fromkeys(finding.invariant for finding in result.findings))
        why = not_in_force(control, result) or (does_not_count(control, result) if verdict.broken else "")
        if why:
            verdict.why_not.append(f"seed {seed}: {why}")
        if verdict.broken and not why:
            verdict.red = True
            break
    return verdict


async def run_controls(only: str, seconds: float, say: Say, keep: Path, tell: Callable[[str], None]) -> bool:
    """All controls, or the one of a protection; prints a table. Whether each came out as expected."""
    verdicts = []
    for control in CONTROLS:
        if only in ("", control.off):
            verdicts.append(await run_control(control, seconds, say, keep))
            tell(line(verdicts[-1]))
    tell("\n".join(["", "| without | seeds | went red on | as expected |", "|---|---|---|---|", *map(row, verdicts)]))
    return all(verdict.as_expected for verdict in verdicts)


def line(verdict: Verdict) -> str:
    """For the reader who waits."""
    outcome = f"red on {', '.join(verdict.broken)}" if verdict.broken else "green"
    not_counted = "".join(f"\n  does not count: {why}" for why in verdict.why_not)
    return f"without {verdict.control.off}: {outcome} after {len(verdict.seeds)} seeds{not_counted}"


def row(verdict: Verdict) -> str:
    """Of the table."""
    elsewhere = f"; `{verdict.control.elsewhere}` does" if verdict.control.elsewhere else ""
    broken = ", ".join(f"`{name}`" for name in verdict.broken) or f"green{elsewhere}"
    good = "yes" if verdict.as_expected else "**no**"
    return f"| `{verdict.control.off}` | {len(verdict.seeds)} | {broken} | {good} |"
