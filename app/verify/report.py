"""What a verification says: a table for people or lines of JSON, and a file of metrics. Used by `run.py`."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from rich.console import Console
from rich.table import Table

from app.telemetry import metric_defs as defs
from projections.verify.findings import PLACES, Finding, Place
from projections.verify.outcome import Verified


@dataclass(slots=True)
class Report:
    """The partitions' results together. `seconds`: how long it took; `finished`: Unix time of its end."""

    partitions: Sequence[Verified]
    seconds: float
    finished: float = field(default_factory=time.time)

    @property
    def findings(self) -> list[Finding]:
        """By pet and place."""
        found = [finding for each in self.partitions for finding in each.findings]
        return sorted(found, key=lambda finding: (finding.pet_id, PLACES.index(finding.place)))

    @property
    def unsettled(self) -> list[str]:
        """Pets that never held still."""
        return sorted(pet_id for each in self.partitions for pet_id in each.unsettled)

    @property
    def made_up(self) -> int:
        """How many pets `seed` has written: they are in no log, and were not compared."""
        return sum(each.made_up for each in self.partitions)

    def differing(self, place: Place) -> int:
        """How many pets differ in a place."""
        return sum(finding.place == place for finding in self.findings)

    def figures(self) -> dict[str, Any]:
        """What was looked at, and what came of it."""
        return {
            "pets": sum(each.pets for each in self.partitions),
            "events": sum(each.events for each in self.partitions),
            "in_table": sum(each.in_table for each in self.partitions),
            "in_postgres": sum(each.in_postgres for each in self.partitions),
            "in_redis": sum(each.in_redis for each in self.partitions),
            **{f"differing_{place}": self.differing(place) for place in PLACES},
            "unsettled": len(self.unsettled),
            "made_up": self.made_up,
            "seconds": round(self.seconds, 3),
        }


def print_report(report: Report, out: TextIO, *, as_json: bool) -> None:
    """The differences, then the figures."""
    if as_json:
        for finding in report.findings:
            print(json.dumps({"step": "differs", **dataclasses.asdict(finding)}), file=out, flush=True)
        for pet_id in report.unsettled:
            print(json.dumps({"step": "unsettled", "pet_id": pet_id}), file=out, flush=True)
        print(json.dumps({"step": "verified", **report.figures()}), file=out, flush=True)
        return
    console = Console(file=out, highlight=False)
    if report.findings:
        console.print(_table(report.findings))
    if report.unsettled:
        console.print(f"never held still: {', '.join(report.unsettled)}", soft_wrap=True, markup=False)
    if report.made_up:
        console.print(
            f"not compared: {report.made_up} pets that `seed` has written; they are in no log", soft_wrap=True
        )
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in report.figures().items())
    console.print(f"verified: {told}", soft_wrap=True)


def _table(findings: Iterable[Finding]) -> Table:
    table = Table(show_lines=True)
    for name in ("pet", "where", "from version", "log event", "what"):
        table.add_column(name, overflow="fold")
    for each in findings:
        event = f"offset {each.offset}\n{each.ce_id}\n{each.ce_type}" if each.offset >= 0 else "none"
        more = f"\nand {each.differences - 1} more" if each.differences > 1 else ""
        what = f"{each.field}\nexpected {each.expected}\nfound {each.found}{more}"
        version = str(each.version) if each.version > 0 else "none"
        table.add_row(*(_plain(text) for text in (each.pet_id, each.place, version, event, what)))
    return table


def _plain(text: str) -> str:
    """Without markup: fields have brackets."""
    return text.replace("[", r"\[")


def write_metrics(report: Report, path: Path) -> None:
    """Replace the file at once, for the textfile collector of a node exporter. Raises OSError."""
    registry = CollectorRegistry()
    registry.register(_Figures(report))
    write_to_textfile(str(path), registry)


class _Figures(Collector):
    """Values as they are: a gauge of prometheus-client would write into PROMETHEUS_MULTIPROC_DIR, where it is set."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterable[GaugeMetricFamily]:
        report, figures = self._report, self._report.figures()
        values: dict[defs.GaugeDef, dict[str, float]] = {
            defs.VERIFY_FINISHED: {"": report.finished},
            defs.VERIFY_SECONDS: {"": report.seconds},
            defs.VERIFY_PETS: {"": figures["pets"]},
            defs.VERIFY_DIFFERING: {place: report.differing(place) for place in PLACES},
            defs.VERIFY_UNSETTLED: {"": len(report.unsettled)},
        }
        for definition, by_label in values.items():
            family = GaugeMetricFamily(definition.name, definition.meaning, labels=definition.labels)
            for label, value in by_label.items():
                family.add_metric([label] if definition.labels else [], value)
            yield family
