"""What differs: where, from which version on, and in which field. Pure; used by all modules of `projections.verify`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

Place = Literal["table", "postgres", "redis"]
PLACES: Final[tuple[Place, ...]] = ("table", "postgres", "redis")
SHORT: Final = 60
NOTHING: Final = "nothing"
"""Said of a row that is not there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One row or value. `version`: that it belongs to, 0 when only `offset`, the log event's, tells it; -1: none."""

    field: str
    expected: str
    found: str
    version: int = 0
    offset: int = -1


@dataclass(frozen=True, slots=True)
class Finding:
    """The first difference of a pet in one place. `version`: the first that differs; `offset`, `ce_id`, `ce_type`: of
    the log event that made it (-1 and empty when there is none). `differences`: how many rows or values differ.
    """

    pet_id: str
    place: Place
    version: int
    offset: int
    field: str
    expected: str
    found: str
    differences: int = 1
    ce_id: str = ""
    ce_type: str = ""


def short(value: Any) -> str:
    """A value in at most `SHORT` characters; of bytes their number and the beginning of a digest."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes, sha256 {hashlib.sha256(value).hexdigest()[:12]}"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"


def first_difference(expected: Any, found: Any, path: str = "") -> tuple[str, str, str] | None:
    """(field, expected, found) of the first leaf at which two values differ; None when they are equal."""
    mine, theirs = _parts(expected), _parts(found)
    if mine is None or theirs is None or type(expected) is not type(found):
        return None if expected == found else (path, short(expected), short(found))
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        inner = f"{path}{name}" if name.startswith("[") else f"{path}.{name}".lstrip(".")
        if name not in mine:
            return inner, NOTHING, short(theirs[name])
        if name not in theirs:
            return inner, short(mine[name]), NOTHING
        if deeper := first_difference(mine[name], theirs[name], inner):
            return deeper
    return None


def _parts(value: Any) -> Mapping[str, Any] | None:
    """Name → part of what has parts."""
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {f"[{key}]": each for key, each in value.items()}
    if isinstance(value, list | tuple):
        return {f"[{number}]": each for number, each in enumerate(value)}
    return None


def first_of(differences: Iterable[Difference]) -> tuple[Difference, int] | None:
    """The one of the lowest version and event, and how many there are."""
    all_of_them = list(differences)
    if not all_of_them:
        return None
    return min(all_of_them, key=lambda each: (each.version, each.offset)), len(all_of_them)
