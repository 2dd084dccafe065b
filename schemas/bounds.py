"""What a job may carry at most, whichever way it comes: `bridges.fields` checks callers' input, `schemas.commands`
every command that is read.

The bounds keep a job's context small, because each of its commands and facts repeats it, and every message far below
what the topics take.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from schemas.errors import InvalidInput

MAX_TEXT: Final = 1_000
"""Characters of a reason and of other texts."""
MAX_ITEMS: Final = 64
"""Labels, and names in `coverage`."""
MAX_NAME: Final = 128
"""Characters of a label or of a name in `coverage`: both are kept in every fact and in the pet's state."""
MAX_METADATA_BYTES: Final = 1 << 16
MAX_DEPTH: Final = 64
"""Of nested JSON; Python's own readers and writers end at about 1,000, less what the stack holds already."""
MAX_INDEXED_DIMENSION: Final = 4_000
"""Values of a vector that is searched for across pets: what pgvector's HNSW takes of half precision."""
MAX_INTEGER: Final = (1 << 31) - 1
"""Of counts and numbers of tries: what an integer column holds."""


def check_text(value: str, field: str, limit: int = MAX_TEXT) -> str:
    """Return `value`. Raises InvalidInput naming `field` when it has more than `limit` characters."""
    if len(value) > limit:
        raise InvalidInput(field, f"has {len(value)} characters, the limit is {limit}")
    return value


def check_items(values: Collection[object], field: str) -> None:
    """Raises InvalidInput naming `field` when there are too many."""
    if len(values) > MAX_ITEMS:
        raise InvalidInput(field, f"has {len(values)} items, the limit is {MAX_ITEMS}")


def check_integer(value: int, field: str, least: int, most: int = MAX_INTEGER) -> None:
    """Raises InvalidInput naming `field` when `value` does not lie in `least` … `most`."""
    if not least <= value <= most:
        shown = value if abs(value) <= 1 << 64 else "a number of more than 64 bits"
        raise InvalidInput(field, f"must be {least} to {most}, got {shown}")


def check_tree(value: object, field: str, max_depth: int = MAX_DEPTH) -> None:
    """Refuse values nested deeper than `max_depth` and numbers that other JSON readers cannot hold."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > max_depth:
            raise InvalidInput(field, f"is nested deeper than {max_depth}")
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, int) and not -(1 << 63) <= item < 1 << 64:
                raise InvalidInput(field, "holds a whole number of more than 64 bits")
        level = below
