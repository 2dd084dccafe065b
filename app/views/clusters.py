"""Views of a pet's current clusters: read through the cache, never folded here."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from aiohttp import web

from app.telemetry import metric_defs as defs
from app.views import errors
from app.views.cache_status import HEADER, cache_status
from app.views.errors import RETRY_AFTER, ApiError, PlainError
from app.views.read_request import parse_condition, plain
from app.views.responses import entity_tag, envelope, json_response, matches
from app.views.services import WebServices
from projections.arrivals import TooManyWaiting
from projections.away import POSTGRES_ERRORS
from projections.own_writes import JobUnfinished, JobUnknown, NotReached
from projections.read_through import CACHE_ERRORS, Read
from schemas.ids import is_id

log = structlog.get_logger(__name__)

JOB_STATUS: Final = "X-Job-Status"


async def get_clusters(services: WebServices, request: web.Request) -> web.Response:
    """The answer itself, as callers always read it."""
    try:
        read, answer = await _current(services, request)
    except ApiError as error:
        raise plain(error, request.query) from None
    return _tagged(request, read, answer)


async def get_latest(services: WebServices, request: web.Request) -> web.Response:
    """The same answer in an envelope."""
    read, answer = await _current(services, request)
    return _tagged(request, read, envelope(answer))


async def invalidate(services: WebServices, request: web.Request) -> web.Response:
    """Drop the cached answer; the next read takes it from Postgres."""
    pet_id = request.match_info["pet_id"]
    try:
        async with asyncio.timeout(services.timeout):
            removed = is_id(pet_id) and await services.cache.invalidate(pet_id)
    except CACHE_ERRORS as error:
        services.metrics.counter(defs.CACHE_FAILURES, operation="invalidate").inc()
        log.warning("cache_failed", operation="invalidate", error=f"{type(error).__name__}: {error}")
        raise PlainError(503, errors.REDIS_DETAIL) from None
    return json_response(b'{"status":"removed"}' if removed else b'{"status":"noop"}', status=202)


async def _current(services: WebServices, request: web.Request) -> tuple[Read, bytes]:
    """The answer that the request asks for, and its bytes. Raises ApiError."""
    pet_id = request.match_info["pet_id"]
    try:
        # Most requests ask for nothing more than the pet, and are answered from the cache.
        if not request.query_string:
            # A path may hold any string; one that is no id has no clusters.
            read = await services.answers.read(pet_id) if is_id(pet_id) else None
        else:
            read = await _conditional(services, request, pet_id)
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None
    if read is None or read.answer is None:
        raise ApiError(errors.CLUSTERS_NOT_FOUND, headers=_job_header(read))
    return read, read.answer


async def _conditional(services: WebServices, request: web.Request, pet_id: str) -> Read | None:
    condition = parse_condition(request.query, services.wait)
    if not is_id(pet_id):
        return None
    try:
        return await services.own_writes.read(
            pet_id, at_least=condition.at_least, job_id=condition.job_id, seconds=condition.seconds
        )
    except NotReached as missed:
        message = f"the pet is at version {missed.version}, not yet at {condition.at_least}"
        raise ApiError(errors.VERSION_NOT_REACHED, message, RETRY_AFTER, version=missed.version) from None
    except JobUnknown:
        raise ApiError(errors.JOB_NOT_FOUND) from None
    except JobUnfinished as unfinished:
        headers = {**RETRY_AFTER, JOB_STATUS: unfinished.state}
        raise ApiError(errors.JOB_UNFINISHED, f"the job is {unfinished.state}", headers) from None
    except TooManyWaiting:
        raise ApiError(errors.TOO_MANY_WAITING) from None


def _job_header(read: Read | None) -> dict[str, str]:
    return {JOB_STATUS: read.job} if read is not None and read.job is not None else {}


def _tagged(request: web.Request, read: Read, body: bytes) -> web.Response:
    headers = {"ETag": entity_tag(read.version), HEADER: cache_status(read), **_job_header(read)}
    if matches(request.headers.get("If-None-Match"), headers["ETag"]):
        return web.Response(status=304, headers=headers)
    return json_response(body, headers=headers)
