"""What a replay says: a table for people, or lines of JSON. Used by `run.py` and `page.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.policy.overrides import differing
from app.whatif.comparison import Difference, Totals, summed
from schemas.facts import Policy

LISTED: Final = 50
"""Pets that the table names; JSON names all."""
COLUMNS: Final = ("pet", "ARI", "photos", "moved", "clusters", "what if", "made", "lost", "heroes")
_NO_FIELD: Final = "the policy in force has these values already; earlier ones of the log may differ"


@dataclass(frozen=True, slots=True)
class Report:
    """`differences`: of every pet, what has changed most first. `policies`: (today, what if) at the ends of the log."""

    differences: Sequence[Difference]
    policies: Sequence[tuple[Policy, Policy]]
    events: int

    @property
    def totals(self) -> Totals:
        """The sums."""
        return summed(self.differences)

    @property
    def changed(self) -> list[Difference]:
        """The pets of which something differs."""
        return [each for each in self.differences if each.differs]


def print_report(report: Report, out: TextIO, *, as_json: bool) -> None:
    """The policies, the pets, and the sums."""
    totals = report.totals
    if as_json:
        for today, what_if in report.policies:
            _line(out, "policy", {"today": msgspec.to_builtins(today), "what_if": msgspec.to_builtins(what_if)})
        for each in report.differences:
            _line(out, "pet", each.fields())
        _line(out, "compared", {**totals.fields(), "events": report.events})
        return
    console = Console(file=out, highlight=False)
    for sentence in policy_lines(report.policies):
        console.print(escape(sentence), soft_wrap=True)
    table, changed = Table(show_footer=True), report.changed
    for name, foot in zip(COLUMNS, row("all", totals), strict=True):
        is_pet = name == COLUMNS[0]
        table.add_column(name, foot, overflow="fold", justify="left" if is_pet else "right", no_wrap=not is_pet)
    for each in changed[:LISTED]:
        table.add_row(*map(escape, row(each.pet_id, each)))
    console.print(table)
    for sentence in remarks(report):
        console.print(escape(sentence), soft_wrap=True)


def policy_lines(policies: Sequence[tuple[Policy, Policy]]) -> list[str]:
    """What differs between the policies in force."""
    lines = []
    for today, what_if in policies:
        pairs = [f"{name} {old} → {new}" for name, (old, new) in differing(today, what_if).items()]
        lines.append(f"{today.policy_id} ({today.engine} {today.engine_version}): {', '.join(pairs) or _NO_FIELD}")
    return lines


def row(name: str, found: Difference | Totals) -> tuple[str, ...]:
    """A pet's figures, or the sums, in the order of `COLUMNS`."""
    made, lost, heroes = (
        each if isinstance(each, int) else len(each) for each in (found.made, found.lost, found.heroes)
    )
    counts = (found.photos, found.moved, found.clusters_today, found.clusters_what_if, made, lost, heroes)
    return name, "none" if found.ari is None else f"{found.ari:.4f}", *map(str, counts)


def remarks(report: Report) -> list[str]:
    """What the table does not say."""
    totals, said = report.totals, []
    least = (
        "" if totals.least is None else f", the ARI at the foot is the mean of the pets; the lowest {totals.least:.4f}"
    )
    said.append(f"{totals.pets_differing} of {totals.pets} pets differ{least}")
    if totals.pets_differing > LISTED:
        said.append(f"the {LISTED} that differ most are listed; --json names all")
    if totals.only_today or totals.only_what_if:
        said.append(
            f"photos that only one side has taken: {totals.only_today} today, {totals.only_what_if} what if; "
            "the other side refuses their facts"
        )
    return said


def _line(out: TextIO, step: str, fields: dict[str, Any]) -> None:
    print(json.dumps({"step": step, **fields}), file=out, flush=True)
