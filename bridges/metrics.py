"""What the bridge measures; the objects come from `app.telemetry`. Used by every loop of this package."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.telemetry import Counter, Gauge, Unmeasured


@dataclass(frozen=True)
class BridgeMetrics:
    """`lost` counts entries that a producer's MAXLEN cut before they were handed over: an alarm, never normal.

    `pending`: entries read and not acknowledged. `lag_seconds`: how long the oldest of them has been idle. `unread`:
    entries that no consumer of the group has read; stays unset before Redis 7.
    """

    relayed: Counter = field(default_factory=Unmeasured)
    invalid: Counter = field(default_factory=Unmeasured)
    lost: Counter = field(default_factory=Unmeasured)
    trimmed: Counter = field(default_factory=Unmeasured)
    pending: Gauge = field(default_factory=Unmeasured)
    lag_seconds: Gauge = field(default_factory=Unmeasured)
    unread: Gauge = field(default_factory=Unmeasured)
