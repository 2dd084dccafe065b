"""A route as one value: what is registered and what the OpenAPI document says come from the same fields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from aiohttp import web

from app.views.services import WebServices

RouteHandler = Callable[[WebServices, web.Request], Awaitable[web.Response]]


@dataclass(frozen=True)
class Parameter:
    """A parameter in the path, the query or the headers. `kind`: its JSON schema type; `limits`: the rest of it.

    `required`: whether it must be there; one in the path always is.
    """

    name: str
    place: Literal["path", "query", "header"]
    meaning: str
    kind: Literal["string", "integer", "number"] = "string"
    limits: Mapping[str, Any] = field(default_factory=dict)
    required: bool = False


@dataclass(frozen=True)
class Answer:
    """One possible answer. `schema` names a component of the OpenAPI document; empty for an answer without a body."""

    status: int
    meaning: str
    schema: str = ""
    content_type: str = "application/json"
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Route:
    """One method on one path. `token`: whether it needs the token. `body`: component of the request body, if any.

    `only_known`: whether a query with any parameter that is not among `parameters` is refused.
    """

    method: Literal["GET", "POST"]
    path: str
    name: str
    summary: str
    handler: RouteHandler
    answers: tuple[Answer, ...]
    token: bool = True
    parameters: tuple[Parameter, ...] = field(default=())
    body: str = ""
    only_known: bool = False


ERROR: Final = "ErrorEnvelope"
PET: Final = Parameter(
    "pet_id",
    "path",
    "The pet's id: 1 to 128 characters of A-Z a-z 0-9 . _ : - (no pet has any other, so that none is found).",
)
NONE_MATCH: Final = Parameter("If-None-Match", "header", "ETag of the answer that the caller holds.")
UNCHANGED: Final = Answer(304, "The caller holds this version already.", headers=("ETag",))
CURSOR: Final = Parameter("cursor", "query", "`meta.next_cursor` of the page before.")


def page_size(rows: str, most: int) -> Parameter:
    """The parameter `limit` of a list of `rows`."""
    return Parameter("limit", "query", f"{rows} on a page, 1 to {most}.", "integer", {"minimum": 1, "maximum": most})
