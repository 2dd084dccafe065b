"""The OpenAPI document and the registered routes are one table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from app.views.errors import CATALOGUE
from app.views.openapi import with_documentation
from app.views.routes import ROUTES
from app.views.services import WebServices
from app.views.web_app import create_web_app


@pytest.fixture(params=[False, True], ids=["plain", "with pages"])
def pages(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def registered(tmp_path: Path, pages: bool) -> set[tuple[str, str]]:
    """(method, path) of what the server would answer; HEAD comes with GET."""
    unused: Any = None
    services = WebServices(
        answers=unused,
        own_writes=unused,
        reader=unused,
        history=unused,
        similar=unused,
        cache=unused,
        submit=unused,
        letters=unused,
        purges=unused,
        decisions=unused,
        redis_ping=unused,
        kafka_ping=unused,
        clock=lambda: datetime.now(UTC),
    )
    app = create_web_app(
        services,
        host="127.0.0.1",
        port=9007,
        tokens=("t",),
        title="T",
        max_body_bytes=1000,
        data_dir=tmp_path,
        pages=pages,
    )
    app.web.init_server()
    router: web.UrlDispatcher = app.web.web_app.router
    return {(route.method, route.resource.canonical) for route in router.routes() if route.resource} - {
        ("HEAD", resource.canonical) for resource in router.resources()
    }


def documented(pages: bool) -> dict[str, Any]:
    routes = with_documentation(ROUTES, title="T", version="1", pages=pages)
    handler = next(route.handler for route in routes if route.name == "openapi")
    unused: Any = None
    coroutine = handler(unused, unused)
    with pytest.raises(StopIteration) as finished:
        coroutine.__await__().send(None)
    document: dict[str, Any] = json.loads(finished.value.value.body)
    return document


def test_every_registered_route_is_described_and_no_other(tmp_path: Path, pages: bool) -> None:
    described = {(method.upper(), path) for path, item in documented(pages)["paths"].items() for method in item}
    assert registered(tmp_path, pages) == described


def test_every_path_parameter_is_described() -> None:
    for path, item in documented(False)["paths"].items():
        names = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        for operation in item.values():
            assert {each["name"] for each in operation["parameters"] if each["in"] == "path"} == names


def test_every_reference_leads_somewhere() -> None:
    document = documented(True)
    components = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(_references(document)) <= components


def test_internal_routes_say_that_they_need_the_token() -> None:
    for path, item in documented(False)["paths"].items():
        for operation in item.values():
            assert ("security" in operation) == path.startswith("/internal/")
            assert ("401" in operation["responses"]) == path.startswith("/internal/")


def test_the_address_of_a_submitted_job_is_told_with_its_pet() -> None:
    accepted = documented(False)["paths"]["/internal/cluster-jobs"]["post"]["responses"]["202"]
    assert "/internal/jobs/{job_id}?pet_id={pet_id}" in accepted["description"]


def test_error_codes_are_one_word_each_and_all_documented() -> None:
    codes = [code.code for code in CATALOGUE]
    error = documented(False)["components"]["schemas"]["ErrorEnvelope"]["properties"]["error"]
    assert len(set(codes)) == len(codes)
    assert error["properties"]["code"]["enum"] == codes


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)
