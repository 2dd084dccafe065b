"""Views of jobs: submit one, list a pet's, look one up."""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from app.telemetry import metric_defs as defs
from app.views import errors
from app.views.errors import ApiError, PlainError
from app.views.job_request import parse_request
from app.views.responses import envelope, json_response, struct_bytes
from app.views.services import KafkaUnavailable, WebServices
from bridges.translate import to_commands
from projections.away import POSTGRES_ERRORS
from projections.reader import JobRow
from projections.within import within
from schemas.errors import InvalidInput
from schemas.ids import is_id

log = structlog.get_logger(__name__)

DEFAULT_PAGE: Final = 50
MAX_PAGE: Final = 200


async def submit_job(services: WebServices, request: web.Request) -> web.Response:
    """Accept a job: 202 only after the broker has confirmed all its commands."""
    job = parse_request(
        await request.read(),
        request.headers.get("Content-Type"),
        default_job_id=uuid.uuid4().hex,
        traceparent=request.headers.get("traceparent", ""),
    )
    try:
        await services.submit(to_commands(job, source="http", now=services.clock()), traceparent=job.traceparent)
    except KafkaUnavailable as error:
        services.metrics.counter(defs.WEB_SUBMITS, result="unavailable").inc()
        log.warning("submit_failed", pet_id=job.pet_id, job_id=job.job_id, error=str(error))
        raise PlainError(503, errors.KAFKA_DETAIL) from None
    services.metrics.counter(defs.WEB_SUBMITS, result="accepted").inc()
    headers = {"X-Job-Id": job.job_id, "Location": f"/internal/jobs/{job.job_id}?pet_id={job.pet_id}"}
    return json_response(b'{"status":"accepted"}', status=202, headers=headers)


async def list_jobs(services: WebServices, request: web.Request) -> web.Response:
    """A page of a pet's jobs, newest first; `meta.next_cursor` leads on, null on the last page."""
    pet_id = request.match_info["pet_id"]
    if not is_id(pet_id):
        raise ApiError(errors.INVALID_PARAMETER, "is not a valid id", field="pet_id")
    limit = page_limit(request.query.get("limit"), MAX_PAGE)
    try:
        # One more than asked tells whether another page follows.
        question = services.reader.jobs_of_pet(pet_id, limit + 1, request.query.get("cursor") or None)
        rows = await within(services.timeout, question)
    except InvalidInput as error:
        raise ApiError(errors.INVALID_PARAMETER, error.reason, field=error.field) from None
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None
    page = rows[:limit]
    meta = {"next_cursor": page[-1].cursor if len(rows) > limit else None}
    return json_response(envelope(struct_bytes([public_job(row) for row in page]), meta))


async def get_job(services: WebServices, request: web.Request) -> web.Response:
    """One job. A job id is unique within a pet only: `?pet_id=` chooses among several."""
    job_id, pet_id = request.match_info["job_id"], request.query.get("pet_id")
    if pet_id is not None and not is_id(pet_id):
        raise ApiError(errors.INVALID_PARAMETER, "is not a valid id", field="pet_id")
    if not is_id(job_id):
        raise ApiError(errors.JOB_NOT_FOUND)
    try:
        found = await within(services.timeout, services.reader.jobs_by_id(job_id, pet_id))
    except POSTGRES_ERRORS:
        raise ApiError(errors.STORE_UNAVAILABLE) from None
    if not found:
        raise ApiError(errors.JOB_NOT_FOUND)
    if len(found) > 1:
        raise ApiError(errors.AMBIGUOUS_JOB_ID)
    return json_response(envelope(struct_bytes(public_job(found[0]))))


def page_limit(text: str | None, most: int) -> int:
    """The parameter `limit` of a list. Raises ApiError."""
    if text is None:
        return DEFAULT_PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= most):
        raise ApiError(errors.INVALID_PARAMETER, f"must be a whole number from 1 to {most}", field="limit")
    return int(text)


def public_job(row: JobRow) -> dict[str, Any]:
    """A job as answers show it."""
    fields = msgspec.structs.asdict(row)
    del fields["cursor"]
    return fields
