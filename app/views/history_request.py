"""Paths and queries of the routes about history → validated values. Pure; called by `app.views.history`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final, TypeVar, get_args

from app.views import errors
from app.views.errors import ApiError
from app.views.jobs import page_limit
from projections.cursors import INT64_MAX
from schemas.headers import parse_timestamp
from schemas.ids import UNCLUSTERED, cluster_number, is_id
from schemas.public import JobState

MAX_PAGE: Final = 200
UNCLUSTERED_NAME: Final = "unclustered"
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")
Value = TypeVar("Value")


def parse_id(path: Mapping[str, str], name: str) -> str:
    """An id in a path. Raises ApiError naming it."""
    if not is_id(path[name]):
        raise _invalid(name, "is not a valid id")
    return path[name]


def parse_version(text: str, name: str) -> int:
    """A version's number. Raises ApiError naming the parameter."""
    if not (_NUMBER.fullmatch(text) and int(text) <= INT64_MAX):
        raise _invalid(name, f"must be a whole number from 1 to {INT64_MAX}")
    return int(text)


def parse_time(text: str, name: str) -> datetime:
    """A time with its zone. Raises ApiError naming the parameter."""
    moment = parse_timestamp(text)
    if moment is None:
        raise _invalid(name, "must be an RFC 3339 time with its zone, as 2026-11-21T07:49:24Z (a + is written %2B)")
    return moment


def parse_cluster(text: str, pet_id: str) -> int:
    """The number of a cluster that is called as answers call it, -1 for `unclustered`. Any other is no cluster of the
    pet: raises ApiError.
    """
    if text == UNCLUSTERED_NAME:
        return UNCLUSTERED
    number = cluster_number(pet_id, text)
    if number is None:
        raise ApiError(errors.CLUSTER_NOT_FOUND)
    return number


def parse_state(query: Mapping[str, str]) -> JobState:
    """The parameter `state`. Raises ApiError."""
    state: JobState
    for state in get_args(JobState):
        if state == required(query, "state"):
            return state
    raise _invalid("state", f"must be one of {', '.join(get_args(JobState))}")


def parse_page(query: Mapping[str, str]) -> tuple[int, str | None]:
    """The parameters `limit` and `cursor` of a list. Raises ApiError."""
    return page_limit(query.get("limit"), MAX_PAGE), query.get("cursor") or None


def required(query: Mapping[str, str], name: str) -> str:
    """A parameter that must be there. Raises ApiError naming it."""
    if name not in query:
        raise _invalid(name, "is required")
    return query[name]


def refuse_unknown(query: Mapping[str, str], known: frozenset[str]) -> None:
    """Raises ApiError naming a parameter that is not known, or is there twice: neither must be passed over."""
    seen = set[str]()
    for name, _ in query.items():
        if name not in known:
            raise _invalid(name, "is not known")
        if name in seen:
            raise _invalid(name, "is given more than once")
        seen.add(name)


def _invalid(name: str, reason: str) -> ApiError:
    return ApiError(errors.INVALID_PARAMETER, reason, field=name)
