"""Where an answer came from, as the header `Cache-Status` tells it (RFC 9211). Pure; called by `app.views.clusters`."""

from __future__ import annotations

import math
from typing import Final

from projections.read_through import Read, Why

HEADER: Final = "Cache-Status"
CACHE: Final = "media-clusters"
"""The name by which this cache calls itself."""

_HIT: Final = f"{CACHE}; hit"
_FORWARDED: Final[dict[Why, str]] = {
    "miss": f"{CACHE}; fwd=uri-miss",
    "behind": f"{CACHE}; fwd=request",
    "unused": f"{CACHE}; fwd=bypass",
    "away": f"{CACHE}; fwd=bypass; detail=cache-unavailable",
}


def cache_status(read: Read) -> str:
    """The header's value. A stale answer's `ttl` is below zero: it could be vouched for so many seconds ago."""
    if read.origin == "cache":
        return _HIT
    if read.origin == "stale":
        return f"{_HIT}; ttl=-{max(1, math.ceil(read.silent_for))}; detail=store-unavailable"
    value = _FORWARDED[read.why]
    if read.stored:
        value += "; stored"
    return f"{value}; collapsed" if read.origin == "shared" else value
