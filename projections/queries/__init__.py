"""SQL in files named by their verb; `load` reads one. Used by the modules of `projections`, once, at import."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def load(name: str) -> str:
    """The statement in `{name}.sql`. Raises FileNotFoundError for a name without a file."""
    return (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
