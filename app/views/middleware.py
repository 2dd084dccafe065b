"""The one middleware: it checks the token, errors become answers, and every answer is counted by route and status.

One, and not one for each of these: every layer is a coroutine more for every request.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Final

import structlog
from aiohttp import hdrs, web

from app.telemetry import metric_defs as defs
from app.telemetry.metrics import Metrics
from app.views.auth import Check
from app.views.errors import UNPARSABLE_DETAIL, ApiError, PlainError
from app.views.responses import detail_response, error_response
from schemas.telemetry import Counter, Histogram

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

_UNMATCHED: Final = "unmatched"


def answer_and_measure(metrics: Metrics, check: Check) -> Middleware:
    """The middleware; it raises nothing but aiohttp's own control flow. `check`: raises for who may not pass."""

    # To look a metric up by its labels costs several times as much as to count.
    @cache
    def requests(method: str, route: str, status: int) -> Counter:
        return metrics.counter(defs.WEB_REQUESTS, method=method, route=route, status=str(status))

    @cache
    def seconds(route: str) -> Histogram:
        return metrics.histogram(defs.WEB_SECONDS, route=route)

    @web.middleware
    async def outermost(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else _UNMATCHED
        try:
            check(request, route)
            response = await handler(request)
        except Exception as error:
            response = _answer_to(error, request)
        # A caller may send any word as a method; each would make a series of its own.
        method = request.method if request.method in hdrs.METH_ALL else "other"
        requests(method, route, response.status).inc()
        seconds(route).observe(time.perf_counter() - started)
        return response

    return outermost


def _answer_to(error: Exception, request: web.Request) -> web.Response:
    """Raises what is aiohttp's own. Called while `error` is handled."""
    match error:
        case PlainError():
            return detail_response(error.status, error.detail, headers=error.headers)
        case ApiError():
            return error_response(error)
        case web.HTTPNotFound():
            return detail_response(404, "Not Found")
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            return detail_response(405, "Method Not Allowed", headers={"Allow": allowed})
        case web.HTTPRequestEntityTooLarge():
            return detail_response(413, "Request Entity Too Large")
        case web.RequestPayloadError():  # it breaks off, or is not compressed as its header says
            return detail_response(400, UNPARSABLE_DETAIL)
        case web.HTTPException():
            raise error
        case _:  # the last resort: a caller gets JSON, the operator the traceback
            log.exception("request_failed", method=request.method, path=request.path)
            return detail_response(500, "Internal Server Error")
