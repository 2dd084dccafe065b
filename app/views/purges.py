"""Views of purges: ask for one, see its receipt."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import structlog
from aiohttp import web

from app.views import errors
from app.views.errors import ApiError
from app.views.history_request import parse_id
from app.views.letter_request import Who, Why, parse_body
from app.views.responses import envelope, json_response, struct_bytes
from app.views.services import KafkaUnavailable, WebServices
from projections.away import POSTGRES_ERRORS
from schemas.ids import ID_PATTERN, is_id

log = structlog.get_logger(__name__)

PurgeId = Annotated[str, msgspec.Meta(pattern=f"^{ID_PATTERN.pattern}$", max_length=128)]
NOBODY: Final = ""


class PurgeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the pet is purged, and who says so. `purge_id`: given by callers who repeat what was not confirmed."""

    why: Why
    who: Who = NOBODY
    purge_id: PurgeId | None = None


async def ask_for_purge(services: WebServices, request: web.Request) -> web.Response:
    """Ask for a purge: 202 only after the broker has confirmed the command."""
    pet_id = parse_id(request.match_info, "pet_id")
    body = parse_body(await request.read(), PurgeBody)
    if body.purge_id is not None and not is_id(body.purge_id):  # the pattern lets a line's end pass
        raise ApiError(errors.INVALID_BODY, "is not a valid id", field="purge_id")
    try:
        purge = await services.purges.ask(pet_id, who=body.who, why=body.why, purge_id=body.purge_id)
    except KafkaUnavailable as error:
        log.warning("purge_not_confirmed", pet_id=pet_id, error=str(error))
        raise ApiError(errors.KAFKA_UNAVAILABLE) from None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None
    log.info("purge_accepted", pet_id=pet_id, purge_id=purge.purge_id)
    location = f"/internal/pets/{pet_id}/purges/{purge.purge_id}"
    return json_response(envelope(struct_bytes(purge)), status=202, headers={"Location": location})


async def get_purge(services: WebServices, request: web.Request) -> web.Response:
    """A purge: pending, or its receipt."""
    pet_id, purge_id = parse_id(request.match_info, "pet_id"), request.match_info["purge_id"]
    try:
        purge = await services.purges.find(pet_id, purge_id) if is_id(purge_id) else None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None
    if purge is None:
        raise ApiError(errors.PURGE_NOT_FOUND)
    return json_response(envelope(struct_bytes(purge)))
