"""The token check of `/internal/*`, as a middleware: before the body is read, before the path is looked up."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from app.views import errors
from app.views.errors import PlainError

HEADER: Final = "X-Internal-Token"
PREFIX: Final = "/internal"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


def require_token(tokens: Sequence[str], protected: frozenset[str]) -> Middleware:
    """A middleware that lets a request under `/internal` pass with one of `tokens` only.

    `protected`: path templates of routes that need a token wherever they stand. Absent and wrong are one answer, in
    constant time. Raises ValueError without tokens or for an empty one.
    """
    if not tokens or not all(tokens):
        raise ValueError("at least one token is needed, and none may be empty")
    secrets = [token.encode() for token in tokens]

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        template = resource.canonical if resource is not None else ""
        if template in protected or request.path == PREFIX or request.path.startswith(f"{PREFIX}/"):
            given = request.headers.get(HEADER, "").encode("utf-8", "surrogateescape")
            # Every secret is compared, so that the time does not tell which of them was near.
            if sum(hmac.compare_digest(given, secret) for secret in secrets) == 0:
                raise PlainError(401, errors.TOKEN_DETAIL)
        return await handler(request)

    return check
