"""What the similarity index measures. `app.telemetry` passes prometheus objects in; tests pass nothing."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.telemetry import Counter, Gauge, Histogram, Unmeasured

_UNMEASURED = Unmeasured()


@dataclass(frozen=True, slots=True)
class SimilarMetrics:
    """`photos`: vectors written. `directions`: made anew. `lag`: facts of the log that are not read yet, `rows`: photos
    that are indexed, about, both of all partitions. `batch_seconds`: one transaction. `errors`: rounds that failed.
    """

    photos: Counter = _UNMEASURED
    directions: Counter = _UNMEASURED
    errors: Counter = _UNMEASURED
    lag: Gauge = _UNMEASURED
    rows: Gauge = _UNMEASURED
    batch_seconds: Histogram = _UNMEASURED
