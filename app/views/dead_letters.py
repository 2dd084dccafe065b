"""Views of dead letters: list, show, requeue, discard; one, or what a filter takes."""

from __future__ import annotations

from typing import Final

import msgspec
import structlog
from aiohttp import web

from app.dead_letters.desk import Acted, CountChanged, LetterNotFound, RefusedLetter, Result, TooManyLetters
from app.dead_letters.resolution import Refused
from app.views import errors
from app.views.errors import ApiError
from app.views.jobs import page_limit
from app.views.letter_request import LetterBody, LettersBody, parse_body, parse_letter_id, parse_query
from app.views.responses import envelope, json_response, struct_bytes
from app.views.services import KafkaUnavailable, WebServices
from projections.away import POSTGRES_ERRORS
from schemas.dead_letters import ActionKind
from schemas.errors import InvalidInput

log = structlog.get_logger(__name__)

MAX_PAGE: Final = 200
MAX_LETTERS: Final = 10_000
MAX_REFUSED: Final = 100


class CountedData(msgspec.Struct, frozen=True, kw_only=True):
    """How many letters a filter takes."""

    count: int


class ActedData(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker has. `refused` names the first 100 of `refused_count` letters that nothing was done about."""

    actions: list[Acted]
    refused_count: int
    refused: list[RefusedLetter]


async def list_letters(services: WebServices, request: web.Request) -> web.Response:
    """A page of letters, newest first; `meta.next_cursor` leads on, null on the last page."""
    letters, limit = parse_query(request.query), page_limit(request.query.get("limit"), MAX_PAGE)
    try:
        rows, following = await services.letters.page(letters, limit, request.query.get("cursor") or None)
    except InvalidInput as error:
        raise ApiError(errors.INVALID_PARAMETER, error.reason, field=error.field) from None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None
    return json_response(envelope(struct_bytes(rows), {"next_cursor": following}))


async def get_letter(services: WebServices, request: web.Request) -> web.Response:
    """One letter with its payload."""
    letter_id = parse_letter_id(request.match_info["id"])
    try:
        return json_response(envelope(struct_bytes(await services.letters.show(letter_id))))
    except LetterNotFound:
        raise ApiError(errors.LETTER_NOT_FOUND) from None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None


async def act_on_one(kind: ActionKind, services: WebServices, request: web.Request) -> web.Response:
    """Requeue or discard one letter: 202 only after the broker has confirmed the action."""
    letter_id = parse_letter_id(request.match_info["id"])
    body = parse_body(await request.read(), LetterBody)
    try:
        return _accepted(await services.letters.act(kind, letter_id, who=body.who, why=body.why))
    except LetterNotFound:
        raise ApiError(errors.LETTER_NOT_FOUND) from None
    except Refused as refusal:
        raise ApiError(errors.LETTER_REFUSED, refusal.reason) from None
    except KafkaUnavailable as error:
        raise _unconfirmed(error) from None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None


async def act_on_all(kind: ActionKind, services: WebServices, request: web.Request) -> web.Response:
    """Count what a filter takes, or requeue or discard it when there are as many as expected."""
    body = parse_body(await request.read(), LettersBody)
    try:
        if body.expected_count is None:
            count = await services.letters.count(body.filter)
            return json_response(envelope(struct_bytes(CountedData(count=count))))
        return _accepted(
            await services.letters.act_on_all(
                kind, body.filter, who=body.who, why=body.why, expected_count=body.expected_count, limit=MAX_LETTERS
            )
        )
    except InvalidInput as error:
        raise ApiError(errors.INVALID_BODY, error.reason, field=f"filter.{error.field}") from None
    except CountChanged as changed:
        raise ApiError(errors.COUNT_CHANGED, str(changed), count=changed.count) from None
    except TooManyLetters as many:
        raise ApiError(errors.TOO_MANY_LETTERS, str(many), count=many.count) from None
    except KafkaUnavailable as error:
        raise _unconfirmed(error) from None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None


def _accepted(result: Result) -> web.Response:
    data = ActedData(actions=result.actions, refused_count=len(result.refused), refused=result.refused[:MAX_REFUSED])
    log.info("dead_letters_acted", actions=len(result.actions), refused=len(result.refused))
    return json_response(envelope(struct_bytes(data)), status=202)


def _unconfirmed(error: KafkaUnavailable) -> ApiError:
    log.warning("dead_letter_action_failed", error=str(error))
    return ApiError(errors.KAFKA_UNAVAILABLE)
