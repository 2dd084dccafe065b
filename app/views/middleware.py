"""The outermost middleware: errors become answers, and every answer is counted by route template and status."""

from __future__ import annotations

import time
from functools import cache
from typing import Final

import structlog
from aiohttp import hdrs, web

from app.telemetry import metric_defs as defs
from app.telemetry.metrics import Metrics
from app.views.auth import Handler, Middleware
from app.views.errors import UNPARSABLE_DETAIL, ApiError, PlainError
from app.views.responses import detail_response, error_response
from schemas.telemetry import Counter, Histogram

log = structlog.get_logger(__name__)

_UNMATCHED: Final = "unmatched"


def answer_and_measure(metrics: Metrics) -> Middleware:
    """The middleware; it raises nothing but aiohttp's own control flow."""

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
        response = await _answer(request, handler)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else _UNMATCHED
        # A caller may send any word as a method; each would make a series of its own.
        method = request.method if request.method in hdrs.METH_ALL else "other"
        requests(method, route, response.status).inc()
        seconds(route).observe(time.perf_counter() - started)
        return response

    return outermost


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except PlainError as error:
        return detail_response(error.status, error.detail, headers=error.headers)
    except ApiError as error:
        return error_response(error)
    except web.HTTPNotFound:
        return detail_response(404, "Not Found")
    except web.HTTPMethodNotAllowed as error:
        return detail_response(405, "Method Not Allowed", headers={"Allow": ", ".join(sorted(error.allowed_methods))})
    except web.HTTPRequestEntityTooLarge:
        return detail_response(413, "Request Entity Too Large")
    except web.RequestPayloadError:  # it breaks off, or is not compressed as its header says
        return detail_response(400, UNPARSABLE_DETAIL)
    except web.HTTPException:
        raise
    except Exception:  # the last resort: a caller gets JSON, the operator the traceback
        log.exception("request_failed", method=request.method, path=request.path)
        return detail_response(500, "Internal Server Error")
