"""Where a rebuild works. Made by `run.py`, used by `rebuild.py` and `estimate.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from projections.cache import AnswerCache
from projections.shadow.history import Start
from schemas.topics import Topics


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is. `state`: folder for the fold's state, removed when the rebuild has ended. `sent_before`:
    partition → end of `media.pet-versions` when the live generation of the fold took over. `start`: where history is to
    begin; None: with version 1.
    """

    cache: AnswerCache

    database_url: str
    bootstrap_servers: str
    topics: Topics
    state: Path
    processes: int
    sent_before: Mapping[int, int] = field(default_factory=dict)
    start: Start | None = None
