"""Views of a pet's current clusters: read through the cache, never folded here."""

from __future__ import annotations

import asyncio

import structlog
from aiohttp import web

from app.telemetry import metric_defs as defs
from app.views import errors
from app.views.errors import ApiError, PlainError
from app.views.responses import entity_tag, envelope, json_response, matches
from app.views.services import CACHE_ERRORS, WebServices
from projections.away import POSTGRES_ERRORS
from projections.cache import stored_position
from schemas.answers import ClusterAnswer, encode_answer
from schemas.errors import InvalidInput
from schemas.ids import check_id

log = structlog.get_logger(__name__)


async def get_clusters(services: WebServices, request: web.Request) -> web.Response:
    """The answer itself, as callers always read it."""
    try:
        answer = await current_answer(services, request.match_info["pet_id"])
    except POSTGRES_ERRORS:
        raise PlainError(503, errors.STORE_DETAIL) from None
    except ApiError:
        raise PlainError(503, errors.READING_OFF_DETAIL) from None
    if answer is None:
        raise PlainError(404, errors.NO_CLUSTERS_DETAIL)
    return _tagged(request, answer, answer)


async def get_latest(services: WebServices, request: web.Request) -> web.Response:
    """The same answer in an envelope."""
    try:
        answer = await current_answer(services, request.match_info["pet_id"])
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None
    if answer is None:
        raise ApiError(errors.CLUSTERS_NOT_FOUND)
    return _tagged(request, answer, envelope(answer))


async def invalidate(services: WebServices, request: web.Request) -> web.Response:
    """Drop the cached answer; the next read takes it from Postgres."""
    pet_id = request.match_info["pet_id"]
    try:
        async with asyncio.timeout(services.timeout):
            removed = is_id(pet_id) and await services.cache.invalidate(pet_id)
    except CACHE_ERRORS as error:
        _cache_failed(services, "invalidate", error)
        raise PlainError(503, errors.REDIS_DETAIL) from None
    return json_response(b'{"status":"removed"}' if removed else b'{"status":"noop"}', status=202)


async def current_answer(services: WebServices, pet_id: str) -> bytes | None:
    """The answer's bytes, from Redis or else from Postgres; None for a pet without clusters.

    Raises `POSTGRES_ERRORS` when Postgres is needed and does not answer, ApiError when it is needed and not to be read.
    """
    if not is_id(pet_id):
        return None
    cached, cache_works = await _from_cache(services, pet_id)
    if cached is not None:
        services.metrics.counter(defs.WEB_READS, origin="cache").inc()
        return cached
    async with asyncio.timeout(services.timeout):
        answer = await services.reader.latest_answer(pet_id)
    services.metrics.counter(defs.WEB_READS, origin="store" if answer else "none").inc()
    if answer is None:
        return None
    encoded = encode_answer(answer)
    if cache_works:
        await _to_cache(services, answer, encoded)
    return encoded


def is_id(text: str) -> bool:
    """Whether anything can be stored under `text`. A path may hold any string; one that is no id has no clusters."""
    try:
        check_id(text, "pet_id")
    except InvalidInput:
        return False
    return True


async def _from_cache(services: WebServices, pet_id: str) -> tuple[bytes | None, bool]:
    """The cached bytes, and whether Redis answered."""
    try:
        async with asyncio.timeout(services.timeout):
            return await services.cache.get(pet_id), True
    except CACHE_ERRORS as error:
        _cache_failed(services, "get", error)
        return None, False


async def _to_cache(services: WebServices, answer: ClusterAnswer, encoded: bytes) -> None:
    try:
        async with asyncio.timeout(services.timeout):
            await services.cache.put(answer.pet_id, encoded, answer.generation, answer.version)
    except CACHE_ERRORS as error:
        _cache_failed(services, "put", error)


def _cache_failed(services: WebServices, operation: str, error: BaseException) -> None:
    services.metrics.counter(defs.CACHE_FAILURES, operation=operation).inc()
    log.warning("cache_failed", operation=operation, error=f"{type(error).__name__}: {error}")


def _tagged(request: web.Request, answer: bytes, body: bytes) -> web.Response:
    position = stored_position(answer)
    if position is None:
        raise ValueError("an answer must end in its generation and version")
    headers = {"ETag": entity_tag(position[1])}
    if matches(request.headers.get("If-None-Match"), headers["ETag"]):
        return web.Response(status=304, headers=headers)
    return json_response(body, headers=headers)
