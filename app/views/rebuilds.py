"""View of rebuilds: how far the newest of each projection is."""

from __future__ import annotations

import asyncio

from aiohttp import web

from app.views import errors
from app.views.errors import ApiError
from app.views.responses import envelope, json_response, struct_bytes
from app.views.services import WebServices
from projections.read_through import CACHE_ERRORS


async def list_rebuilds(services: WebServices, _request: web.Request) -> web.Response:
    """The newest rebuild of each projection, the one that was begun last first."""
    try:
        async with asyncio.timeout(services.timeout):
            return json_response(envelope(struct_bytes(await services.rebuilds())))
    except CACHE_ERRORS:
        raise ApiError(errors.PROGRESS_UNAVAILABLE) from None
