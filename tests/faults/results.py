"""The results of all runs: one JSON line a seed in docs/reliability-runs.jsonl, and the tables of docs/reliability.md.

Called by __main__.py.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tests.e2e.service import REPOSITORY

RUNS: Final = REPOSITORY / "docs" / "reliability-runs.jsonl"
PAGE: Final = REPOSITORY / "docs" / "reliability.md"
BEGIN: Final = "<!-- figures: made by `python -m tests.faults --table` -->"
END: Final = "<!-- end of figures -->"

Row = dict[str, Any]


def current_commit() -> str:
    """Of the working tree, with ``+`` behind it when files but the results differ; ``unknown`` outside a repository."""
    commit = _git("rev-parse", "--short", "HEAD")
    results = (f":!{path.relative_to(REPOSITORY)}" for path in (RUNS, PAGE))
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *results)
    return f"{commit}{'+' if changed else ''}" if commit else "unknown"


def _git(*asked: str) -> str:
    done = subprocess.run(["git", *asked], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def append(row: Row) -> None:
    """Add a run."""
    with RUNS.open("a") as file:
        file.write(json.dumps(row) + "\n")


def read() -> list[Row]:
    """All runs, the oldest first; none when there is no file."""
    return [json.loads(line) for line in RUNS.read_text().splitlines()] if RUNS.exists() else []


def quantile(samples: Sequence[float], part: float) -> float:
    """By the nearest-rank method: a value that was measured."""
    return sorted(samples)[math.ceil(part * len(samples)) - 1]


def tables(rows: Sequence[Row]) -> str:
    """Markdown: the totals, each fault, each message topic, each commit."""
    return "\n\n".join([_totals(rows), _faults(rows), _duplicates(rows), _commits(rows)])


def write_page(rows: Sequence[Row]) -> None:
    """Put the tables between the two marks of the page. Raises ValueError when it has no marks."""
    page = PAGE.read_text()
    head, begun, rest = page.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{PAGE}: lacks the lines {BEGIN} and {END}")
    PAGE.write_text(f"{head}{BEGIN}\n\n{tables(rows)}\n\n{END}{tail}")


def _totals(rows: Sequence[Row]) -> str:
    passed = sum(row["outcome"] == "passed" for row in rows)
    posts, accepted = (_count(rows, name) for name in ("posts without redis", "posts without redis, 202"))
    figures = [
        ("seeds passed", f"{passed} of {len(rows)}"),
        ("seconds of load", f"{sum(row['seconds'] for row in rows):.0f}"),
        ("jobs accepted, all ended and audited", sum(row["jobs"] for row in rows)),
        ("poison entries", _count(rows, "poison")),
        ("faults", sum(sum(row["struck"].values()) for row in rows)),
        ("samples of Postgres and Redis", _count(rows, "samples")),
        ("POSTs while Redis was away", f"{accepted} of {posts} answered with 202"),
    ]
    return _table(("", "figure"), figures)


def _faults(rows: Sequence[Row]) -> str:
    struck: Counter[str] = Counter()
    recovery: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        struck.update(row["struck"])
        for name, seconds in row["recovery"].items():
            recovery[name] += seconds
    lines = [
        (
            f"`{name}`",
            count,
            *(f"{quantile(recovery[name], part):.1f}" if recovery[name] else "" for part in (0.5, 0.99)),
        )
        for name, count in sorted(struck.items())
    ]
    return _table(("fault", "injected", "recovery p50, s", "recovery p99, s"), lines)


def _duplicates(rows: Sequence[Row]) -> str:
    delivered: Counter[str] = Counter()
    repeated: Counter[str] = Counter()
    absorbed: Counter[str] = Counter()
    for row in rows:
        delivered.update(row["delivered"])
        repeated.update(row["repeated"])
        if row["outcome"] == "passed":
            absorbed.update(row["repeated"])
    lines = [(name, delivered[name], repeated[name], absorbed[name]) for name in delivered]
    return _table(("messages", "delivered", "duplicates among them", "absorbed"), lines)


def _commits(rows: Sequence[Row]) -> str:
    by_commit: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_commit[row["commit"]].append(row)
    lines = []
    for commit, of_commit in by_commit.items():
        broken = Counter(name for row in of_commit for name in row["findings"])
        passed = sum(row["outcome"] == "passed" for row in of_commit)
        red = ", ".join(f"`{name}` ({count})" for name, count in broken.most_common())
        lines.append((f"`{commit}`", len(of_commit), passed, red or "none"))
    return _table(("commit", "seeds", "passed", "invariants broken"), lines)


def _count(rows: Sequence[Row], name: str) -> int:
    return sum(row["counts"].get(name, 0) for row in rows)


def _table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    rows = [head, ["---", *("---:" for _ in head[1:])], *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
