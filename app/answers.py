"""Wires the reads of current answers with their metrics. Used by the web role, and by tests over HTTP."""

from __future__ import annotations

from app.telemetry import metric_defs as defs
from app.telemetry.metrics import Metrics
from projections.arrivals import Arrivals
from projections.cache import AnswerCache
from projections.own_writes import OwnWrites
from projections.read_through import ReadMetrics, ReadThrough
from projections.reader import ClusterReader


def current_answers(
    reader: ClusterReader,
    cache: AnswerCache | None,
    *,
    cache_seconds: float,
    store_seconds: float,
    metrics: Metrics,
) -> tuple[ReadThrough, OwnWrites]:
    """Reads through `cache` (None: of Postgres only), to be started and stopped; and reads that wait for a write."""
    answers = ReadThrough(
        store=reader,
        cache=cache,
        cache_seconds=cache_seconds,
        store_seconds=store_seconds,
        metrics=ReadMetrics(
            reads=lambda origin: metrics.counter(defs.WEB_READS, origin=origin),
            failures=lambda operation: metrics.counter(defs.CACHE_FAILURES, operation=operation),
            away=lambda store: metrics.gauge(defs.STORE_AWAY, store=store),
        ),
    )
    arrivals = Arrivals(reader, seconds=store_seconds, waiting=metrics.gauge(defs.WEB_WAITING))
    waits = metrics.histogram(defs.WEB_WAIT_SECONDS)
    return answers, OwnWrites(answers, arrivals, waits=waits)
