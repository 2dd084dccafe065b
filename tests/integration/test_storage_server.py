"""The local image storage over real HTTP, as the embed role asks it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from agents.images.errors import ImageError
from agents.images.storage_service import StorageServiceSource, client_session
from app.local.probe import answers_ok
from tests.integration.bridge_rig import eventually

TOKEN = "a-token"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(b"jpeg bytes")
    (folder / "two:2.png").write_bytes(b"png bytes")
    (folder / "notes.txt").write_bytes(b"not served")
    (folder / "index.json").write_text(json.dumps({"101": ["one", "two:2"]}))
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    return folder


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "app.local.storage", "--folder", str(folder), "--port", str(port)]
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, "STORAGE_SERVICE_TOKEN": TOKEN})
    try:
        await eventually(lambda: answers_ok(f"http://127.0.0.1:{port}/healthz"))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


def get(server: str, path: str, token: str | None = TOKEN) -> tuple[int, str, bytes]:
    """Status, media type and body; the path goes out as it is, which most clients would normalise."""
    connection = HTTPConnection(server, timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token is not None else {})
    response = connection.getresponse()
    try:
        return response.status, response.headers.get_content_type(), response.read()
    finally:
        connection.close()


async def test_images_are_served_by_id(server: str) -> None:
    assert get(server, "/internal/images/one") == (200, "image/jpeg", b"jpeg bytes")
    assert get(server, "/internal/images/two:2") == (200, "image/png", b"png bytes")
    assert get(server, "/internal/images/two%3A2")[0] == 200


@pytest.mark.parametrize("path", ["/internal/images/none", "/internal/images/notes", "/internal/images/one.jpg"])
async def test_what_is_no_image_is_not_found(server: str, path: str) -> None:
    assert get(server, path)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/internal/images/../secret",
        "/internal/images/..%2Fsecret",
        "/internal/images/%2e%2e%2fsecret",
        "/internal/images/..",
        "/internal/images/%2Fetc%2Fpasswd",
        "/internal/images/one%00",
        "/internal/images/link",
        "/internal/pets/..%2F/images-with-embeddings",
    ],
)
async def test_nothing_outside_the_folder_is_served(server: str, path: str) -> None:
    status, _, body = get(server, path)
    assert status in (400, 404)
    assert b"secret" not in body or status == 400


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", "ä"])
async def test_token_is_required(server: str, token: str | None) -> None:
    encoded = token.encode().decode("latin-1") if token else token
    assert get(server, "/internal/images/one", encoded)[0] == 401
    assert get(server, "/healthz", encoded)[0] == 200


def test_without_a_token_it_does_not_start(folder: Path) -> None:
    command = [sys.executable, "-m", "app.local.storage", "--folder", str(folder), "--port", "0"]
    environment = {**os.environ, "STORAGE_SERVICE_TOKEN": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "STORAGE_SERVICE_TOKEN" in done.stderr


async def test_pets_are_known_from_the_index_only(server: str, folder: Path) -> None:
    path = "/internal/pets/101/images-with-embeddings"
    assert json.loads(get(server, path)[2]) == {"image_ids": ["one", "two:2"]}
    assert get(server, "/internal/pets/102/images-with-embeddings")[0] == 404
    (folder / "index.json").unlink()
    assert get(server, path)[0] == 404


async def test_embed_roles_source_reads_it(server: str) -> None:
    async with client_session(connections=2, timeout=10) as session:
        source = StorageServiceSource(f"http://{server}", TOKEN, max_bytes=1_000, session=session)
        assert await source.fetch("two:2") == b"png bytes"
        assert await source.list_images("101") == ("one", "two:2")
        assert await source.list_images("102") is None
        with pytest.raises(ImageError):
            await source.fetch("none")
