"""Views of the past: answers at a version and as of a time, versions, differences, members, an image's clusters; and
of jobs by state. What is immutable says so to caches.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from aiohttp import web

from app.views import errors
from app.views.errors import ApiError, ErrorCode
from app.views.history_request import (
    parse_cluster,
    parse_id,
    parse_page,
    parse_state,
    parse_time,
    parse_version,
    required,
)
from app.views.jobs import public_job
from app.views.responses import entity_tag, envelope, json_response, matches, struct_bytes
from app.views.services import WebServices
from projections.away import POSTGRES_ERRORS
from projections.missing import Cause, MergedAway, Missing
from projections.within import within
from schemas.answers import ClusterAnswer, encode_answer
from schemas.errors import InvalidInput
from schemas.headers import timestamp

IMMUTABLE: Final = "private, max-age=31536000, immutable"
"""Private: an answer names a pet's images, and stands behind a token."""
_CODES: Final[dict[Cause, ErrorCode]] = {
    "pet": errors.CLUSTERS_NOT_FOUND,
    "version": errors.VERSION_NOT_FOUND,
    "removed": errors.VERSION_REMOVED,
    "purged": errors.VERSION_PURGED,
    "cluster": errors.CLUSTER_NOT_FOUND,
    "image": errors.IMAGE_NOT_FOUND,
}
Found = TypeVar("Found")


async def get_version(services: WebServices, request: web.Request) -> web.Response:
    """The answer as it was at a version: the same for ever."""
    pet_id, version = parse_id(request.match_info, "pet_id"), parse_version(request.match_info["version"], "version")
    answer = await found(services, services.history.answer_at(pet_id, version))
    return _tagged(request, answer, {"Cache-Control": IMMUTABLE})


async def get_as_of(services: WebServices, request: web.Request) -> web.Response:
    """The answer that the pet had at a time."""
    pet_id, moment = parse_id(request.match_info, "pet_id"), parse_time(required(request.query, "time"), "time")
    answer = await found(services, services.history.answer_as_of(pet_id, moment))
    return _tagged(request, answer, {}, {"as_of": timestamp(moment)})


async def list_versions(services: WebServices, request: web.Request) -> web.Response:
    """A page of a pet's versions, newest first."""
    pet_id, (limit, cursor) = parse_id(request.match_info, "pet_id"), parse_page(request.query)
    rows, following = await found(services, services.history.versions(pet_id, limit, cursor))
    return json_response(envelope(struct_bytes(rows), {"next_cursor": following}))


async def get_difference(services: WebServices, request: web.Request) -> web.Response:
    """A page of what changed between two versions: the same for ever."""
    pet_id, (limit, cursor) = parse_id(request.match_info, "pet_id"), parse_page(request.query)
    earlier, later = (parse_version(required(request.query, name), name) for name in ("from", "to"))
    page, following = await found(services, services.history.difference(pet_id, earlier, later, limit, cursor))
    body = envelope(struct_bytes(page), {"next_cursor": following})
    return json_response(body, headers={"Cache-Control": IMMUTABLE})


async def list_members(services: WebServices, request: web.Request) -> web.Response:
    """A page of all members of a cluster, or of the unclustered images, at one version."""
    pet_id, (limit, cursor) = parse_id(request.match_info, "pet_id"), parse_page(request.query)
    number, version = parse_cluster(request.match_info["cluster"], pet_id), _version_asked(request)
    try:
        page = await found(services, services.history.members(pet_id, number, version, limit, cursor))
    except MergedAway as gone:
        return successor(request, pet_id, gone.heir, "members")
    meta = {"version": page.version, "member_count": page.member_count, "next_cursor": page.cursor}
    return json_response(envelope(struct_bytes(page.members), meta))


async def list_places(services: WebServices, request: web.Request) -> web.Response:
    """A page of the clusters in which an image lay, the present one first."""
    pet_id, image_id = (parse_id(request.match_info, name) for name in ("pet_id", "image_id"))
    limit, cursor = parse_page(request.query)
    rows, following = await found(services, services.history.places(pet_id, image_id, limit, cursor))
    return json_response(envelope(struct_bytes(rows), {"next_cursor": following}))


async def get_why(services: WebServices, request: web.Request) -> web.Response:
    """Why an image lies where it lies, at one version."""
    pet_id, image_id = (parse_id(request.match_info, name) for name in ("pet_id", "image_id"))
    row = await found(services, services.history.why(pet_id, image_id, _version_asked(request)))
    return json_response(envelope(struct_bytes(row)))


async def get_lineage(services: WebServices, request: web.Request) -> web.Response:
    """Where a cluster comes from, how it was called, and what became of it; also of one that has ended."""
    pet_id = parse_id(request.match_info, "pet_id")
    number = parse_cluster(request.match_info["cluster"], pet_id)
    row = await found(services, services.history.lineage(pet_id, number))
    return json_response(envelope(struct_bytes(row)))


async def list_jobs_by_state(services: WebServices, request: web.Request) -> web.Response:
    """A page of all pets' jobs in a state, newest first."""
    state, (limit, cursor) = parse_state(request.query), parse_page(request.query)
    rows = await found(services, services.reader.jobs_by_status(state, limit + 1, cursor))
    following = rows[limit - 1].cursor if len(rows) > limit else None
    return json_response(envelope(struct_bytes([public_job(row) for row in rows[:limit]]), {"next_cursor": following}))


async def found(services: WebServices, question: Coroutine[Any, Any, Found]) -> Found:
    """The answer to a question to Postgres. Raises ApiError, and MergedAway for a cluster that has a successor."""
    try:
        return await within(services.timeout, question)
    except MergedAway:
        raise
    except Missing as missing:
        raise ApiError(_CODES[missing.cause], missing.reason) from None
    except InvalidInput as error:
        raise ApiError(errors.INVALID_PARAMETER, error.reason, field=error.field) from None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None


def _version_asked(request: web.Request) -> int | None:
    """The parameter `version`, None for the last one."""
    text = request.query.get("version")
    return None if text is None else parse_version(text, "version")


def successor(request: web.Request, pet_id: str, heir: str, what: str) -> web.Response:
    """308 to the same of the cluster that the one asked for was merged into; a cursor is of the old list."""
    query = {name: value for name, value in request.query.items() if name != "cursor"}
    url = request.rel_url.with_path(f"/internal/pets/{pet_id}/clusters/{heir}/{what}").with_query(query)
    body = envelope(struct_bytes({"successor": heir}))
    return json_response(body, status=308, headers={"Location": str(url)})


def _tagged(
    request: web.Request, answer: ClusterAnswer, headers: dict[str, str], meta: dict[str, Any] | None = None
) -> web.Response:
    headers = {"ETag": entity_tag(answer.version), **headers}
    if matches(request.headers.get("If-None-Match"), headers["ETag"]):
        return web.Response(status=304, headers=headers)
    return json_response(envelope(encode_answer(answer), meta), headers=headers)
