"""Views of health. `/healthz` looks nowhere; `/readyz` asks everything that a request may need."""

from __future__ import annotations

import asyncio

from aiohttp import web

from app.telemetry.health import Check, ping_check, ping_checks, readiness_document
from app.views import errors
from app.views.errors import PlainError
from app.views.responses import json_response
from app.views.services import WebServices


async def healthz(_services: WebServices, _request: web.Request) -> web.Response:
    """The process answers."""
    return json_response(b'{"status":"ok"}')


async def redis_health(services: WebServices, _request: web.Request) -> web.Response:
    """Whether Redis answers."""
    if not (await ping_check(services.redis_ping, services.timeout)).ok:
        raise PlainError(503, errors.REDIS_DETAIL)
    return json_response(b'{"status":"ok"}')


async def readiness(services: WebServices) -> dict[str, Check]:
    """The checks of what a request may need: Kafka, Postgres, Redis. A store that is not read passes, and says so."""
    pings = {"kafka": services.kafka_ping, "postgres": services.reader.ping, "redis": services.redis_ping}
    asked = {name: ping for name, ping in pings.items() if name not in services.unread}
    told = {name: Check(True, reason) for name, reason in services.unread.items()}
    return await ping_checks(asked, services.timeout) | told


async def readyz(services: WebServices, _request: web.Request) -> web.Response:
    """Kafka, Postgres, Redis and the other roles' own checks."""
    own, peers = await asyncio.gather(readiness(services), services.peers())
    status, body = readiness_document({**own, **peers})
    return json_response(body, status=status)
