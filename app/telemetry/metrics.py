"""The prometheus objects behind `app.telemetry.metric_defs`, and their text for `/metrics`.

One process: a registry of our own. Several processes on one machine: prometheus-client keeps the values in files of
PROMETHEUS_MULTIPROC_DIR (it reads that variable itself, when it is imported) and any of them tells the sums of all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    multiprocess,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app.telemetry import metric_defs as defs
from schemas import telemetry

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4


class Metrics:
    """All metrics of a process. `multiprocess_dir`: the folder shared with the other processes, or None.

    Asking for an unknown metric or for other labels than its definition names raises KeyError or ValueError.
    """

    def __init__(self, multiprocess_dir: Path | None = None) -> None:
        self._multiprocess_dir = multiprocess_dir
        self._registry = _process_registry() if multiprocess_dir is None else CollectorRegistry()
        self._counters = {d: self._new_counter(d) for d in defs.ALL if isinstance(d, defs.CounterDef)}
        self._gauges = {d: self._new_gauge(d) for d in defs.ALL if isinstance(d, defs.GaugeDef)}
        self._histograms = {d: self._new_histogram(d) for d in defs.ALL if isinstance(d, defs.HistogramDef)}
        for result in defs.JOB_RESULTS:
            self.counter(defs.JOBS_PROCESSED, result=result)

    def counter(self, definition: defs.CounterDef, **labels: str) -> telemetry.Counter:
        """The counter with these labels."""
        metric = self._counters[definition]
        return metric.labels(**labels) if definition.labels else metric

    def gauge(self, definition: defs.GaugeDef, **labels: str) -> telemetry.Gauge:
        """The gauge with these labels."""
        metric = self._gauges[definition]
        return metric.labels(**labels) if definition.labels else metric

    def histogram(self, definition: defs.HistogramDef, **labels: str) -> telemetry.Histogram:
        """The histogram with these labels."""
        metric = self._histograms[definition]
        return metric.labels(**labels) if definition.labels else metric

    def exposition(self) -> bytes:
        """The text that `/metrics` answers, of type `CONTENT_TYPE`."""
        if self._multiprocess_dir is None:
            return generate_latest(self._registry)
        registry = _process_registry()
        multiprocess.MultiProcessCollector(registry, path=str(self._multiprocess_dir))  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def _new_counter(self, definition: defs.CounterDef) -> Counter:
        return Counter(definition.name, definition.meaning, definition.labels, registry=self._registry)

    def _new_gauge(self, definition: defs.GaugeDef) -> Gauge:
        return Gauge(
            definition.name,
            definition.meaning,
            definition.labels,
            registry=self._registry,
            multiprocess_mode=definition.mode,
        )

    def _new_histogram(self, definition: defs.HistogramDef) -> Histogram:
        return Histogram(
            definition.name, definition.meaning, definition.labels, buckets=definition.buckets, registry=self._registry
        )


def forget_process(pid: int, multiprocess_dir: Path) -> None:
    """Drop the gauges of a process that has ended; the supervisor calls it, else they are told for ever."""
    multiprocess.mark_process_dead(pid, str(multiprocess_dir))  # type: ignore[no-untyped-call]


def _process_registry() -> CollectorRegistry:
    """A registry with the `python_*` and `process_*` metrics of this process."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
