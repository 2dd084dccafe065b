"""The demo judges the answer at the version that its jobs led to, not an older one that is still cached."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import msgspec
import pytest

from app.local import demo
from app.local.demo import Api, DemoFailed
from tests.unit.test_demo_results import answer

JOBS = {
    "j1": {"pet_id": "101", "version": 2},
    "j2": {"pet_id": "101", "version": 3},
    "other": {"pet_id": "102", "version": 9},
}

Serve = Callable[[list[int]], Api]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """An API whose clusters stand at one version after the other, at the last one for ever."""
    servers: list[HTTPServer] = []

    def start(versions: list[int]) -> Api:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                version = versions.pop(0) if len(versions) > 1 else versions[0]
                document: dict[str, Any] = msgspec.to_builtins(answer("ab", "cd", loose="e"))
                body = json.dumps(document | {"version": version}).encode()
                self.send_response(404 if version == 0 else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return Api(f"http://127.0.0.1:{server.server_port}", "token")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_older_answers_are_passed_over(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_POLL_S", 0.0)
    assert demo._answer(serve([0, 1, 2, 3]), "101", JOBS).version == 3


def test_an_answer_that_stays_behind_fails_the_demo(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_POLL_S", 0.0)
    monkeypatch.setattr(demo, "_DEADLINE_S", 0.1)
    with pytest.raises(DemoFailed, match="never version 3"):
        demo._answer(serve([2]), "101", JOBS)
