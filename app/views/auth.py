"""The token check of `/internal/*`: before the body is read, before the path is looked up. Called by
`app.views.middleware`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from app.views import errors
from app.views.errors import PlainError

HEADER: Final = "X-Internal-Token"
PREFIX: Final = "/internal"

Check = Callable[[web.Request, str], None]


def require_token(tokens: Sequence[str], protected: frozenset[str]) -> Check:
    """A check of a request and its route's path template, which lets one under `/internal` pass with one of `tokens`.

    `protected`: path templates of routes that need a token wherever they stand. Absent and wrong are one answer,
    PlainError 401, in constant time. Raises ValueError without tokens or for an empty one.
    """
    if not tokens or not all(tokens):
        raise ValueError("at least one token is needed, and none may be empty")
    secrets = [token.encode() for token in tokens]

    def check(request: web.Request, template: str) -> None:
        guarded = template in protected or request.path == PREFIX or request.path.startswith(f"{PREFIX}/")
        if guarded and not is_among(request.headers.get(HEADER, ""), secrets):
            raise PlainError(401, errors.TOKEN_DETAIL)

    return check


def is_among(header: str, secrets: Sequence[bytes]) -> bool:
    """Whether a header's value is one of the secrets, in constant time."""
    given = header.encode("utf-8", "surrogateescape")
    # Every secret is compared, so that the time does not tell which of them was near.
    return sum([hmac.compare_digest(given, secret) for secret in secrets]) > 0
