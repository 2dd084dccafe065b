"""Views of users' decisions: decide, see what became of one, list them."""

from __future__ import annotations

import structlog
from aiohttp import web

from app.decisions.desk import IdTaken
from app.decisions.early import NotYetAt, PetUnknown, Refused
from app.views import errors
from app.views.decision_request import parse_decision, parse_filter
from app.views.errors import ApiError
from app.views.history_request import parse_id, parse_page
from app.views.responses import envelope, json_response, struct_bytes
from app.views.services import KafkaUnavailable, WebServices
from projections.away import POSTGRES_ERRORS
from projections.decision_reader import DecisionRow
from schemas.errors import InvalidInput
from schemas.ids import is_id

log = structlog.get_logger(__name__)


async def decide(services: WebServices, request: web.Request) -> web.Response:
    """201 when it is carried out, 200 when it was before, 202 when that is not known in time; 409 when refused."""
    pet_id = parse_id(request.match_info, "pet_id")
    draft = parse_decision(pet_id, await request.read())
    place = f"/internal/pets/{pet_id}/decisions/{draft.decision_id}"
    try:
        row, known = await services.decisions.decide(draft, traceparent=request.headers.get("traceparent", ""))
    except IdTaken:
        raise ApiError(errors.DECISION_ID_TAKEN, field="decision_id") from None
    except PetUnknown:
        raise ApiError(errors.CLUSTERS_NOT_FOUND) from None
    except NotYetAt as early:
        reason = f"expected_version is {draft.expected_version}, the pet is at {early.version}"
        raise ApiError(errors.VERSION_NOT_REACHED, reason, version=early.version) from None
    except Refused as refused:
        raise _refused(draft.decision_id, refused, {}) from None
    except KafkaUnavailable as error:
        log.warning("decision_not_confirmed", pet_id=pet_id, error=str(error))
        raise ApiError(errors.KAFKA_UNAVAILABLE, decision_id=draft.decision_id) from None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None
    log.info("decision_taken", pet_id=pet_id, decision_id=draft.decision_id, state=row.state if row else "pending")
    headers = {"Location": place}
    if row is None:
        pending = {"pet_id": pet_id, "decision_id": draft.decision_id, "state": "pending"}
        return json_response(envelope(struct_bytes(pending)), status=202, headers=headers)
    if row.state == "refused":
        told = Refused(row.code or "", row.reason or "", row.version)
        raise _refused(draft.decision_id, told, headers)
    return json_response(envelope(struct_bytes(row)), status=200 if known else 201, headers=headers)


async def get_decision(services: WebServices, request: web.Request) -> web.Response:
    """A decision and what became of it."""
    pet_id, decision_id = parse_id(request.match_info, "pet_id"), request.match_info["decision_id"]
    try:
        row = await services.decisions.find(pet_id, decision_id) if is_id(decision_id) else None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None
    if row is None:
        raise ApiError(errors.DECISION_NOT_FOUND)
    return json_response(envelope(struct_bytes(row)))


async def list_decisions(services: WebServices, request: web.Request) -> web.Response:
    """A page of a pet's decisions, newest first."""
    pet_id, (limit, cursor) = parse_id(request.match_info, "pet_id"), parse_page(request.query)
    which = parse_filter(pet_id, request.query)
    rows: list[DecisionRow]
    try:
        rows, following = await services.decisions.page(pet_id, which, limit, cursor)
    except InvalidInput as error:
        raise ApiError(errors.INVALID_PARAMETER, error.reason, field=error.field) from None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None
    return json_response(envelope(struct_bytes(rows), {"next_cursor": following}))


def _refused(decision_id: str, refused: Refused, headers: dict[str, str]) -> ApiError:
    """`headers` has the place of a decision that is kept; one that was refused before it was written has none."""
    fields: dict[str, str | int] = {"refusal": refused.code, "version": refused.version, "decision_id": decision_id}
    if refused.successor is not None:
        fields["successor"] = refused.successor
    return ApiError(errors.DECISION_REFUSED, refused.reason, headers, **fields)
