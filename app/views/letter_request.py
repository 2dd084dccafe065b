"""Queries and bodies of the dead-letter routes → validated values. Pure; called by `app.views.dead_letters`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, TypeVar
from uuid import UUID

import msgspec

from app.views import errors
from app.views.errors import ApiError, ErrorCode
from projections.dead_letter_reader import LetterFilter
from schemas.errors import InvalidInput

Who = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]
Why = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000, pattern=r"\S")]


class LetterBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who acts on a letter, and why."""

    who: Who
    why: Why


class LettersBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who acts on which letters, and why. `expected_count`: as many letters as the filter takes; without it nothing is
    done and the count is the answer.
    """

    filter: LetterFilter
    who: Who
    why: Why
    expected_count: Annotated[int, msgspec.Meta(ge=0)] | None = None


BodyT = TypeVar("BodyT", bound=msgspec.Struct)
_FILTER_FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(LetterFilter))
_PARAMETERS: Final = (*_FILTER_FIELDS, "limit", "cursor")
_PLACE: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_NAMED: Final = re.compile(r"(?:missing required|unknown) field `([^`]*)`")


def parse_body(raw: bytes, kind: type[BodyT]) -> BodyT:
    """The body. Raises ApiError naming the field."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(errors.INVALID_BODY, str(error)) from None


def parse_query(query: Mapping[str, str]) -> LetterFilter:
    """The filter of a list. Raises ApiError naming the parameter, also one that is not known: it must not widen what
    is listed.
    """
    unknown = next((name for name in query if name not in _PARAMETERS), None)
    if unknown is not None:
        raise ApiError(errors.INVALID_PARAMETER, "is not known", field=unknown)
    try:
        letters = msgspec.convert({name: query[name] for name in query if name in _FILTER_FIELDS}, LetterFilter)
        letters.columns()
        return letters
    except msgspec.ValidationError as error:
        raise _invalid(errors.INVALID_PARAMETER, str(error)) from None
    except InvalidInput as error:
        raise ApiError(errors.INVALID_PARAMETER, error.reason, field=error.field) from None


def parse_letter_id(text: str) -> UUID:
    """The id in a path; one that is no UUID names no letter. Raises ApiError."""
    try:
        return UUID(text)
    except ValueError:
        raise ApiError(errors.LETTER_NOT_FOUND) from None


def _invalid(code: ErrorCode, text: str) -> ApiError:
    """The error of msgspec's text, e.g. ``Expected `str`, got `int` - at `$.filter.kind```."""
    place, named = _PLACE.search(text), _NAMED.search(text)
    steps = [match[1] for match in (place, named) if match and match[1]]
    return ApiError(code, _PLACE.sub("", text), field=".".join(steps) or "body")
