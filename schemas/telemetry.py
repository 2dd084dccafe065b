"""The few verbs of a metric that packages call. `app.telemetry` passes prometheus objects in; tests pass nothing."""

from __future__ import annotations

from typing import Protocol


class Counter(Protocol):
    """Counts up."""

    def inc(self, amount: float = 1) -> object:
        """Add `amount`."""
        ...


class Gauge(Protocol):
    """Holds the last value."""

    def set(self, value: float) -> object:
        """Replace the value."""
        ...


class Histogram(Protocol):
    """Collects observations."""

    def observe(self, amount: float) -> object:
        """Add one observation."""
        ...


class Unmeasured:
    """Stands in where nobody measures."""

    def inc(self, amount: float = 1) -> object:
        """Ignore."""

    def set(self, value: float) -> object:
        """Ignore."""

    def observe(self, amount: float) -> object:
        """Ignore."""
