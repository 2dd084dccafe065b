"""A route as one value: what is registered and what the OpenAPI document says come from the same fields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from app.views.services import WebServices

RouteHandler = Callable[[WebServices, web.Request], Awaitable[web.Response]]


@dataclass(frozen=True)
class Parameter:
    """A parameter in the path, the query or the headers. `kind`: its JSON schema type; `limits`: the rest of it."""

    name: str
    place: Literal["path", "query", "header"]
    meaning: str
    kind: Literal["string", "integer"] = "string"
    limits: Mapping[str, Any] = field(default_factory=dict)


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
    """One method on one path. `token`: whether it needs the token. `body`: component of the request body, if any."""

    method: Literal["GET", "POST"]
    path: str
    name: str
    summary: str
    handler: RouteHandler
    answers: tuple[Answer, ...]
    token: bool = True
    parameters: tuple[Parameter, ...] = field(default=())
    body: str = ""
