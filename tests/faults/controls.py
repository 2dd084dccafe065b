"""Expects the audit to go red when a protection is off, on an invariant named here. Called by __main__.py.

A control has the faults that its protection is for, so that a few seeds are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.registry import chosen
from tests.faults.run import Say, run_seed

MOST_SEEDS: Final = 5


@dataclass(frozen=True)
class Control:
    """`off`: the protection; `faults`: names or their beginnings; `red`: one of these must break; empty: none may."""

    off: str
    faults: tuple[str, ...]
    red: tuple[str, ...]


@dataclass
class Verdict:
    """What a control came to. `broken`: invariants of the first red seed."""

    control: Control
    seeds: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def as_expected(self) -> bool:
        """Red on a named invariant, or green where nothing was off."""
        if not self.control.red:
            return not self.broken
        return any(name in self.control.red for name in self.broken)


LOST: Final = ("every_job_ends", "every_image_is_placed")
CONTROLS: Final = (
    Control("nothing", ("kill", "second_worker", "broker_kill", "storage_slow"), ()),
    Control("ordered_ack", ("kill_embed", "storage_slow"), LOST),
    Control("durable_before_ack", ("kill_embed", "kill_fold"), (*LOST, "table_is_log", "no_damage")),
    Control("outbox", ("kill_fold",), (*LOST, "sent_versions", "sent_updated", "sent_status")),
    Control("recovery_mend", ("kill_fold", "state_lost_fold", "second_worker_fold"), ("no_damage", *LOST)),
    Control("version_guard", ("kill_fold", "kill_project"), ("nothing_else_is_dead_lettered", "oracle_membership")),
    Control("xack_after_ack", ("kill_bridge", "broker_kill"), ("accepted_is_in_the_topic", "every_job_ends")),
)


async def run_control(control: Control, seconds: float, say: Say, keep: Path) -> Verdict:
    """Seed after seed until one is red, at most `MOST_SEEDS`."""
    verdict = Verdict(control)
    for seed in range(1, MOST_SEEDS + 1):
        result = await run_seed(
            seed, seconds, chosen(control.faults), off=control.off, say=say, keep=keep / control.off / str(seed)
        )
        verdict.seeds.append(seed)
        verdict.broken = list(dict.fromkeys(finding.invariant for finding in result.findings))
        if verdict.broken:
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
    return f"without {verdict.control.off}: {outcome} after {len(verdict.seeds)} seeds"


def row(verdict: Verdict) -> str:
    """Of the table."""
    broken = ", ".join(f"`{name}`" for name in verdict.broken) or "green"
    good = "yes" if verdict.as_expected else "**no**"
    return f"| `{verdict.control.off}` | {len(verdict.seeds)} | {broken} | {good} |"
