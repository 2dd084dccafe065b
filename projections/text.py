"""Values as Postgres can hold them: text without NUL, times with a zone, bounded counts. Pure; used by the writers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from schemas.errors import InvalidInput

INT_MAX: Final = 2**31 - 1
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def clean(text: str) -> str:
    """`text` with NUL, which Postgres refuses in text and jsonb, replaced by U+FFFD."""
    return text.replace("\x00", _REPLACEMENT) if "\x00" in text else text


def jsonb(value: Any) -> str:
    """JSON text of `value` that a jsonb column takes."""
    encoded = msgspec.json.encode(value).decode()
    return encoded if "\\u0000" not in encoded else msgspec.json.encode(_clean_all(msgspec.to_builtins(value))).decode()


def moment(text: str, field: str) -> datetime:
    """An RFC 3339 time; one without a zone is UTC. Raises InvalidInput naming `field`."""
    try:
        parsed = datetime.fromisoformat(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(field, f"must be an RFC 3339 time, got {text[:64]!r}") from error


def count(value: int, field: str, most: int = INT_MAX) -> int:
    """`value` when it is a count that an integer column holds. Raises InvalidInput naming `field`."""
    if not 0 <= value <= most:
        raise InvalidInput(field, f"must be between 0 and {most}, got {value}")
    return value


def _clean_all(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _clean_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean_all(item) for item in value]
    return value
