"""Processes that ended, what they said, and whether the run was one that proves something. Called by audit.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Final

from agents.abort import EXIT_CODE
from tests.e2e.service import REPOSITORY
from tests.faults.case import Case, Finding
from tests.faults.stack import Outages
from tests.faults.supervised import KILLED, STOPPED, Exit

DAMAGE: Final = ("referred to but missing", "events were skipped", "the table is damaged")
"""What a process writes when it finds that something was lost or corrupted before."""
UNFORESEEN: Final = ("embedding of … failed", "fold of offset … failed")
"""Reasons of the handbook that stand for any error: right only where the disk was full or Kafka away."""
SAMPLES_A_SECOND: Final = 0.5
"""Of the load's time at least; there are up to four, but Postgres is away now and then."""
HANDBOOK: Final = REPOSITORY / "docs" / "operations" / "supervision.md"
REASONS_HEAD: Final = "| the reason begins with |"


def exits_were_foreseen(case: Case) -> Iterator[Finding]:
    """Each process ended by our doing, or for a reason that the handbook has."""
    for each in case.exits:
        if why := unforeseen(each, case.outages):
            last = " / ".join(each.said.splitlines()[-8:])
            yield Finding(
                "no_unforeseen_exit", f"{each.name} ended with {each.code} ({each.asked or 'by itself'}): {why}; {last}"
            )


def unforeseen(exit_: Exit, outages: Outages) -> str:
    """Why a process should not have ended so; empty when all is well."""
    excused = _excused(exit_, outages)
    if exit_.code == EXIT_CODE:
        reason = abort_reason(exit_.said)
        matching = [told for told in documented_reasons() if _pattern(told).match(reason)]
        if not matching:
            return f"its reason is none of the handbook's: {reason!r}"
        return "" if excused or set(matching) - set(UNFORESEEN) else f"an error that nobody foresaw: {reason!r}"
    if exit_.code == 1:
        return "" if excused else "neither was Kafka away in its life, nor its disk full"
    allowed = {0: STOPPED, -15: STOPPED, -9: KILLED}.get(exit_.code, ())
    return "" if exit_.asked in allowed else "nobody asked for that"


def abort_reason(said: str) -> str:
    """The reason in the last line of `agents.abort`; empty when there is none."""
    for line in reversed(said.splitlines()):
        if '"agents.abort"' in line:
            try:
                return str(json.loads(line[line.index("{") :])["reason"])
            except (ValueError, KeyError):
                continue
    return ""


@cache
def documented_reasons() -> tuple[str, ...]:
    """The beginnings of reasons in the handbook's table; … stands for anything. Raises ValueError when it has none."""
    _, found, rest = HANDBOOK.read_text().partition(REASONS_HEAD)
    rows = rest.split("\n\n", 1)[0].splitlines()[2:]
    reasons = tuple(text for row in rows for text in re.findall(r"`([^`]+)`", row.split("|")[1]))
    if not found or not reasons:
        raise ValueError(f"{HANDBOOK}: has no table of reasons")
    return reasons


def _pattern(told: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, told.split("…"))), re.DOTALL)


def _excused(exit_: Exit, outages: Outages) -> bool:
    """Whether Kafka was away, or the process's disk full, at some time in its life."""
    born = exit_.at - exit_.lived
    spans = [*outages.spans.get("kafka", ()), *outages.spans.get(f"disk_full_{exit_.name}", ())]
    return any(since <= exit_.at and born <= until for since, until in spans)


def nothing_was_damaged(case: Case) -> Iterator[Finding]:
    """No process found its state damaged or an event skipped; every zombie ended itself."""
    for name, log in case.logs.items():
        for line in log.splitlines():
            if any(word in line for word in DAMAGE):
                yield Finding("no_damage", f"{name}: {line[:300]}")
    for text in case.broken_promises:
        yield Finding("zombie_ends_itself", text)


def run_was_whole(case: Case) -> Iterator[Finding]:
    """Everything that the suite began came to its end: what was struck is back, every probe has succeeded."""
    for text in case.unfinished:
        yield Finding("everything_comes_back", text)


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
