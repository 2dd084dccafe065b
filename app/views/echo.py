"""What an error tells of a caller's own input: where it is wrong, and at most about a kilobyte of it. Pure.

Called by `app.views.job_request`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from app.views.responses import json_bytes

MAX_ECHO_BYTES: Final = 1_024
MAX_STEP: Final = 128
"""Characters of a key in a place."""


def bounded_echo(value: object) -> object:
    """`value` when its JSON is small, else the beginning of a text, or how much a list or an object holds."""
    if isinstance(value, str) and len(value) > MAX_ECHO_BYTES:
        return _cut(value)
    if isinstance(value, list | dict) and len(value) > MAX_ECHO_BYTES:
        return _counted(value)
    if len(json_bytes(value)) <= MAX_ECHO_BYTES:
        return value
    return _cut(value) if isinstance(value, str) else _counted(value)


def locate(document: object, wrong: Callable[[object], bool]) -> list[str | int]:
    """The place of the first value for which `wrong` holds; for a key, its object's. Empty when there is none."""
    if wrong(document):
        return []
    place: list[str | int] = []
    levels = [_members(document)]
    while levels:
        step, value = next(levels[-1], (None, None))
        if step is None:
            levels.pop()
            del place[-1:]
        elif isinstance(step, str) and wrong(step):
            return place
        elif wrong(value):
            return [*place, _short(step)]
        elif isinstance(value, list | dict):
            place.append(_short(step))
            levels.append(_members(value))
    return []


def _members(value: object) -> Iterator[tuple[str | int | None, object]]:
    if isinstance(value, dict):
        return iter(value.items())
    return iter(enumerate(value) if isinstance(value, list) else ())


def _short(step: str | int) -> str | int:
    return step[:MAX_STEP] if isinstance(step, str) else step


def fits_64_bits(value: int) -> bool:
    """Whether readers of JSON that keep whole numbers in 64 bits, with a sign or without, can hold it."""
    return -(1 << 63) <= value < 1 << 64


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold it: half of a surrogate pair, which JSON's escapes can write, is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cut(text: str) -> str:
    # A character takes up to four bytes, and up to six where JSON escapes it.
    cut = text[: MAX_ECHO_BYTES - 2]
    while len(json_bytes(cut)) > MAX_ECHO_BYTES:
        cut = cut[: len(cut) // 2]
    return f"{cut}…"


def _counted(value: object) -> str:
    if isinstance(value, list):
        return f"an array of {len(value)} items"
    if isinstance(value, dict):
        return f"an object of {len(value)} members"
    return f"a {type(value).__name__} of more than {MAX_ECHO_BYTES} characters"
