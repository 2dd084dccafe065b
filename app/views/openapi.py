"""The OpenAPI document of the route table, and the routes that show it. Called by `app.views.web_app`. Pure but for
the handlers' answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import msgspec
from aiohttp import web

from app.telemetry.health import Check
from app.views.auth import HEADER
from app.views.dead_letters import ActedData, CountedData
from app.views.decision_schema import decision_schemas
from app.views.errors import CATALOGUE
from app.views.job_schema import job_body_schema
from app.views.letter_request import LetterBody, LettersBody
from app.views.purges import PurgeBody
from app.views.responses import json_bytes, json_response
from app.views.route import Answer, Parameter, Route, RouteHandler
from app.views.services import WebServices
from projections.dead_letter_reader import DeadLetterDetail, DeadLetterRow
from projections.decision_reader import DecisionRow
from projections.history import PetDifference, VersionRow
from projections.lineage import LineageRow
from projections.members import MemberRow, PlaceRow
from projections.purges import PurgeRow
from projections.reader import JobRow
from projections.rebuild_progress import RebuildProgress
from projections.similar.search import Similar
from projections.why import WhyRow
from schemas.answers import ClusterAnswer

_REF: Final = "#/components/schemas/"
_CURSOR: Final = {"type": ["string", "null"]}
_UNAUTHORIZED: Final = Answer(401, "The token is absent or wrong.", "Detail")


def with_documentation(routes: Sequence[Route], *, title: str, version: str, pages: bool) -> tuple[Route, ...]:
    """`routes` and those that describe them all: /openapi.json, and with `pages` also /docs and /redoc."""
    content: dict[str, bytes] = {}
    described = (
        Answer(200, "The document.", "Object"),
        Answer(200, "The page.", "Text", content_type="text/html"),
    )
    own = [
        Route("GET", "/openapi.json", "openapi", "This document.", _json(content), described[:1], token=False),
        *(
            Route("GET", f"/{name}", name, "The document as a page.", _page(content), described[1:], token=False)
            for name in (("docs", "redoc") if pages else ())
        ),
    ]
    every = (*routes, *own)
    content["json"] = json_bytes(document(every, title=title, version=version))
    content["page"] = _html(every, title).encode()
    return every


def document(routes: Sequence[Route], *, title: str, version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of `routes`."""
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": HEADER}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    answers = (*route.answers, *((_UNAUTHORIZED,) if route.token else ()))
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": {str(answer.status): _answer(answer) for answer in sorted(answers, key=lambda a: a.status)},
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": _content(route.body, "application/json")}
    if route.token:
        operation["security"] = [{"token": []}]
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required or parameter.place == "path",
        "description": parameter.meaning,
        "schema": {"type": parameter.kind, **parameter.limits},
    }


def _answer(answer: Answer) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.meaning}
    if answer.headers:
        described["headers"] = {name: {"schema": {"type": "string"}} for name in answer.headers}
    if answer.schema:
        described["content"] = _content(answer.schema, answer.content_type)
    return described


def _content(schema: str, content_type: str) -> dict[str, Any]:
    return {content_type: {"schema": {"$ref": f"{_REF}{schema}"}}}


def _schemas() -> dict[str, Any]:
    structs = (
        *(ClusterAnswer, JobRow, Check),
        *(VersionRow, PetDifference, MemberRow, PlaceRow, WhyRow),
        *(DeadLetterRow, DeadLetterDetail, LetterBody, LettersBody, ActedData, CountedData),
        *(PurgeRow, PurgeBody, RebuildProgress, DecisionRow, LineageRow, Similar),
    )
    _, schemas = msgspec.json.schema_components(structs, ref_template=_REF + "{name}")
    job = schemas["JobRow"]
    # The cursor is told once for a page, as meta.next_cursor.
    job["properties"] = {name: schema for name, schema in job["properties"].items() if name != "cursor"}
    job["required"] = [name for name in job["required"] if name != "cursor"]
    codes = {"type": "string", "enum": [code.code for code in CATALOGUE], "description": _catalogue()}
    count = {"type": "integer"}
    text = {"type": "string"}
    error = _object(code=codes, message=text, field=text, count=count, version=count)
    error["properties"] |= {"refusal": text, "decision_id": text, "successor": text}
    error["required"] = ["code", "message"]
    return {
        **schemas,
        **decision_schemas(_REF),
        "ClusterJobBody": job_body_schema(_REF + "{model}"),
        "Object": {"type": "object"},
        "Text": {"type": "string"},
        "Status": _object(status={"type": "string"}),
        "Detail": _object(detail={"type": "string"}),
        "ValidationErrors": _object(detail={"type": "array", "items": _validation_error()}),
        "Readiness": _object(
            status={"enum": ["ready", "not_ready"]},
            failing={"type": "array", "items": {"type": "string"}},
            checks={"type": "object", "additionalProperties": {"$ref": f"{_REF}Check"}},
        ),
        "ClustersEnvelope": _envelope({"$ref": f"{_REF}ClusterAnswer"}),
        "AsOfEnvelope": _envelope({"$ref": f"{_REF}ClusterAnswer"}, _object(as_of={"type": "string"})),
        "VersionsEnvelope": _page_of("VersionRow"),
        "PlacesEnvelope": _page_of("PlaceRow"),
        "SuccessorEnvelope": _envelope(_object(successor={"type": "string"})),
        "WhyEnvelope": _envelope({"$ref": f"{_REF}WhyRow"}),
        "SimilarEnvelope": _envelope({"$ref": f"{_REF}Similar"}),
        "MembersEnvelope": _page_of("MemberRow", version=count, member_count=count),
        "DifferenceEnvelope": _envelope({"$ref": f"{_REF}PetDifference"}, _object(next_cursor=_CURSOR)),
        "JobEnvelope": _envelope({"$ref": f"{_REF}JobRow"}),
        "JobsEnvelope": _page_of("JobRow"),
        "DeadLetterEnvelope": _envelope({"$ref": f"{_REF}DeadLetterDetail"}),
        "DeadLettersEnvelope": _page_of("DeadLetterRow"),
        "ActedEnvelope": _envelope({"$ref": f"{_REF}ActedData"}),
        "RebuildsEnvelope": _envelope({"type": "array", "items": {"$ref": f"{_REF}RebuildProgress"}}),
        "CountedEnvelope": _envelope({"$ref": f"{_REF}CountedData"}),
        "DecisionEnvelope": _envelope({"$ref": f"{_REF}DecisionRow"}),
        "DecisionsEnvelope": _page_of("DecisionRow"),
        "PendingDecisionEnvelope": _envelope(_object(pet_id=text, decision_id=text, state={"enum": ["pending"]})),
        "LineageEnvelope": _envelope({"$ref": f"{_REF}LineageRow"}),
        "PurgeEnvelope": _envelope({"$ref": f"{_REF}PurgeRow"}),
        "ErrorEnvelope": _envelope({"type": "null"}, error=error),
    }


def _page_of(row: str, **meta: Any) -> dict[str, Any]:
    items = {"type": "array", "items": {"$ref": f"{_REF}{row}"}}
    return _envelope(items, _object(**meta, next_cursor=_CURSOR))


def _envelope(data: Any, meta: Any = None, error: Any = None) -> dict[str, Any]:
    return _object(
        api_version={"type": "string"}, data=data, meta=meta or {"type": "object"}, error=error or {"type": "null"}
    )


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _validation_error() -> dict[str, Any]:
    place = {"type": "array", "items": {"type": ["string", "integer"]}}
    error = _object(type={"type": "string"}, loc=place, msg={"type": "string"}, input={}, ctx={"type": "object"})
    error["required"] = ["type", "loc", "msg", "input"]
    return error


def _catalogue() -> str:
    return " ".join(f"{code.code} ({code.status}): {code.meaning}" for code in CATALOGUE)


def _json(content: dict[str, bytes]) -> RouteHandler:
    async def openapi(_services: WebServices, _request: web.Request) -> web.Response:
        return json_response(content["json"])

    return openapi


def _page(content: dict[str, bytes]) -> RouteHandler:
    async def page(_services: WebServices, _request: web.Request) -> web.Response:
        return web.Response(body=content["page"], content_type="text/html", charset="utf-8")

    return page


def _html(routes: Sequence[Route], title: str) -> str:
    sections = "".join(_section(route) for route in routes)
    style = "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}code{background:#eee}"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{style}</style>"
        f'<h1>{escape(title)}</h1><p><a href="openapi.json">openapi.json</a></p>{sections}'
    )


def _section(route: Route) -> str:
    rows = [f"{parameter.place} {parameter.name}: {parameter.meaning}" for parameter in route.parameters]
    rows += [f"{answer.status}: {answer.meaning}" for answer in route.answers]
    items = "".join(f"<li>{_code(row)}</li>" for row in rows)
    lock = " (token)" if route.token else ""
    return f"<h2><code>{route.method} {escape(route.path)}</code>{lock}</h2><p>{escape(route.summary)}<ul>{items}</ul>"


def _code(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
