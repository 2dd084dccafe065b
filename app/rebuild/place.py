"""Where a rebuild works. Made by `run.py`, used by `rebuild.py` and `estimate.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from projections.cache import AnswerCache
from schemas.topics import Topics


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is. `state`: folder for the fold's state, removed when the rebuild has ended."""

    cache: AnswerCache

    database_url: str
    bootstrap_servers: str
    topics: Topics
    state: Path
    processes: int
