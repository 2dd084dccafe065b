"""What the projector measures. `app.telemetry` passes prometheus objects in; tests pass nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.telemetry import Counter, Gauge, Histogram, Unmeasured

_UNMEASURED = Unmeasured()


@dataclass(frozen=True, slots=True)
class ProjectorMetrics:
    """`readable_seconds`: from a version's time to its answer's being readable. `batch_seconds`: one transaction.

    `dead_letters(subject)`: letters written for the first time; `decisions(kind, outcome)`: decisions so.
    """

    versions_applied: Counter = _UNMEASURED
    versions_ignored: Counter = _UNMEASURED
    versions_replayed: Counter = _UNMEASURED
    pets_purged: Counter = _UNMEASURED
    gaps: Counter = _UNMEASURED
    job_messages: Counter = _UNMEASURED
    dead_letters: Callable[[str], Counter] = lambda subject: _UNMEASURED
    decisions: Callable[[str, str], Counter] = lambda kind, outcome: _UNMEASURED
    unreadable_letters: Counter = _UNMEASURED
    open_letters: Gauge = _UNMEASURED
    postgres_errors: Counter = _UNMEASURED
    cache_errors: Counter = _UNMEASURED
    stale_pets: Gauge = _UNMEASURED
    batch_seconds: Histogram = _UNMEASURED
    readable_seconds: Histogram = _UNMEASURED
