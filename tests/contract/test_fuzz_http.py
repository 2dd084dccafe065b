"""Requests generated from the project's own OpenAPI document, over HTTP, with real stores behind: every answer is one
that the document tells of.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.local.kafka import KafkaServer
from projections.decisions import record_decision
from projections.erasure import record_requests
from projections.jobs import RecordedCommand, record_commands
from schemas.commands import EmbedImages, PurgePet
from schemas.ids import cluster_id
from schemas.topics import Topics
from tests.contract.test_wire_http import VERSION, until_ready
from tests.contract.web_rig import DEADLINE_SECONDS, TOKEN, Api, Stores, serving
from tests.integration.projections.samples import settled

EXAMPLES: Final = 10
"""Requests for each route that keep to the document, and as many that break it."""
CONFORMANCE: Final[list[CheckFunction]] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ASK: Final = "POST /internal/pets/{pet_id}/purge"
PURGE: Final = "purge-1"
DECISION: Final = "decision-1"
DECIDE: Final = "POST /internal/pets/{pet_id}/decisions"
SUBMIT: Final = "POST /internal/cluster-jobs"
BEYOND_SCHEMAS: Final = "holds a whole number of more than 64 bits"
"""What the document can only tell in words, because JSON schemas do not tell whole numbers from others."""
_NOW: Final = datetime(2026, 11, 21, tzinfo=UTC)
KNOWN: Final = {
    "pet_id": VERSION.pet_id,
    "job_id": VERSION.job_id,
    "version": VERSION.version,
    "cluster": cluster_id(VERSION.pet_id, 0),
    "image_id": VERSION.members[0].image_id,
    "purge_id": PURGE,
    "decision_id": DECISION,
}
READ: Final = (
    "pets/{pet_id}/clusters",
    "pets/{pet_id}/clusters/{version}",
    "pets/{pet_id}/clusters/{cluster}/members",
    "pets/{pet_id}/versions",
    "pets/{pet_id}/images/{image_id}",
    "pets/{pet_id}/purges/{purge_id}",
    "pets/{pet_id}/decisions",
    "pets/{pet_id}/decisions/{decision_id}",
    "pets/{pet_id}/clusters/{cluster}/lineage",
    "jobs",
    "rebuilds",
)
"""Routes below /internal of which some generated request is to be answered with data."""


@pytest.fixture
def base_url(migrated_url: str, redis_url: str, kafka: KafkaServer, topics: Topics, tmp_path: Path) -> Iterator[str]:
    """The API's address; it runs in a thread of its own, because the generated requests block."""
    with _running(Stores(migrated_url, redis_url, kafka.bootstrap_servers, topics), tmp_path) as url:
        yield url


def test_every_answer_is_a_documented_one(base_url: str) -> None:
    document = requests.get(f"{base_url}/openapi.json", timeout=DEADLINE_SECONDS).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=base_url)
    seen = {
        (operation.label, mode): _answers(operation, mode)
        for operation in _operations(schema)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    }
    # That the generated requests get behind the doors, not only up to them.
    assert 202 in seen[SUBMIT, GenerationMode.POSITIVE]
    assert 422 in seen[SUBMIT, GenerationMode.NEGATIVE]
    assert {202, 422} <= seen[ASK, GenerationMode.POSITIVE] | seen[ASK, GenerationMode.NEGATIVE]
    assert 422 in seen[DECIDE, GenerationMode.NEGATIVE]
    for path in READ:
        assert 200 in seen[f"GET /internal/{path}", GenerationMode.POSITIVE], path


def _operations(schema: Any) -> Iterator[Any]:
    """Every operation of the document; one that schemathesis cannot read is raised."""
    for found in schema.get_all_operations():
        yield found.ok()


def _answers(operation: Any, mode: GenerationMode) -> set[int]:
    """Ask, judge each answer by the document; returns the statuses that came."""
    statuses = set[int]()

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @seed(20261121)
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def run(case: Any, known: bool) -> None:
        if known:
            case.path_parameters = {name: KNOWN.get(name, value) for name, value in case.path_parameters.items()}
        # What never comes need not be waited for as long as a caller may.
        if isinstance(case.query, dict) and isinstance(wait := case.query.get("wait"), int | float):
            case.query["wait"] = min(wait, 0.05)
        # Control characters make no HTTP request, which the server's parser says before any route is reached.
        assume(all(char >= " " for value in (case.headers or {}).values() for char in str(value)))
        response = case.call(headers={"X-Internal-Token": TOKEN})
        statuses.add(response.status_code)
        case.validate_response(response, checks=CONFORMANCE)
        if operation.label == SUBMIT and mode is GenerationMode.POSITIVE and response.status_code != 202:
            assert [error["msg"] for error in response.json()["detail"]] == [BEYOND_SCHEMAS]

    try:
        run()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # where nothing can be wrong about a request
    return statuses


@contextmanager
def _running(stores: Stores, data_dir: Path) -> Iterator[str]:
    ready, urls = threading.Event(), list[str]()
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()

    async def serve() -> None:
        async with serving(stores, data_dir) as api:
            await _fill(api)
            urls.append(str(api.session._base_url))
            ready.set()
            await stopping.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(DEADLINE_SECONDS)
        yield urls[0].rstrip("/")
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(DEADLINE_SECONDS)
        loop.close()


async def _fill(api: Api) -> None:
    """A pet with clusters and a job, and a producer that is connected."""
    await api.project(VERSION)
    command = EmbedImages(pet_id=VERSION.pet_id, job_id=VERSION.job_id, image_ids=("a",), job_images=1)
    async with api.pool.acquire() as connection:
        await record_commands(connection, [RecordedCommand(command, _NOW)])
        await record_decision(connection, settled(VERSION.pet_id, DECISION, VERSION.version))
        await record_requests(
            connection,
            [PurgePet(pet_id=VERSION.pet_id, purge_id=PURGE, accepted_at=VERSION.time, who="ann", why="asked")],
        )
    await until_ready(api)
