"""The query of a read with conditions: `min_version`, `wait_for_job`, `wait`. Pure; called by `app.views.clusters`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.views import errors
from app.views.echo import bounded_echo
from app.views.errors import ApiError, PlainError
from app.views.history_request import parse_version
from schemas.ids import is_id

MAX_WAIT: Final = 10.0
"""Seconds."""
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")
_NAMES: Final = ("min_version", "wait_for_job", "wait")


@dataclass(frozen=True, slots=True)
class Condition:
    """What the answer has to hold, and how many seconds it may be waited for."""

    at_least: int
    job_id: str | None
    seconds: float


def parse_condition(query: Mapping[str, str], default_wait: float) -> Condition:
    """The conditions of a query. Raises ApiError naming the parameter that is wrong, or is given twice."""
    names = [name for name, _ in query.items()]
    for name in _NAMES:
        if names.count(name) > 1:
            raise _invalid(name, "is given more than once")
    version, job_id, wait = (query.get(name) for name in _NAMES)
    if job_id is not None and not is_id(job_id):
        raise _invalid("wait_for_job", "is not a valid id")
    return Condition(
        at_least=0 if version is None else parse_version(version, "min_version"),
        job_id=job_id,
        seconds=default_wait if wait is None else _parse_wait(wait),
    )


def _parse_wait(text: str) -> float:
    if not (_NUMBER.fullmatch(text) and float(text) <= MAX_WAIT):
        raise _invalid("wait", f"must be a number of seconds from 0 to {MAX_WAIT:g}")
    return float(text)


def _invalid(name: str, reason: str) -> ApiError:
    return ApiError(errors.INVALID_PARAMETER, reason, field=name)


def plain(error: ApiError, query: Mapping[str, str]) -> PlainError:
    """The same error as the routes without an envelope tell it."""
    if error.code is errors.INVALID_PARAMETER:
        field = str(error.fields["field"])
        wrong: dict[str, Any] = {"type": "value_error", "loc": ["query", field], "msg": error.message}
        return PlainError(error.status, [{**wrong, "input": bounded_echo(query.get(field))}])
    return PlainError(error.status, _DETAILS.get(error.code, error.message), error.headers)


_DETAILS: Final = {
    errors.CLUSTERS_NOT_FOUND: errors.NO_CLUSTERS_DETAIL,
    errors.STORE_UNAVAILABLE: errors.STORE_DETAIL,
    errors.READING_OFF: errors.READING_OFF_DETAIL,
}
"""Texts that existing callers know."""
