"""One contract for all image sources, run against a real HTTP server and a real folder; then what is HTTP's alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import fsspec
import pytest
from aiohttp import web
from fsspec import AbstractFileSystem

from agents.images.decode import decode
from agents.images.errors import ImageError
from agents.images.fsspec_source import FsspecSource
from agents.images.sources import ImageSource
from agents.images.storage_service import StorageServiceSource, client_session
from schemas.errors import RetryLater, StopProcess
from tests.photos import photo_path

TOKEN = "storage-token"
HUSH = "hush-hush"
LIMIT = 500_000
COFFEE = photo_path("coffee.png").read_bytes()
FILES = {
    "coffee": COFFEE,
    "A.b_c:d-1": b"odd but valid id",
    "at-the-limit": b"x" * LIMIT,
    "over-the-limit": b"x" * (LIMIT + 1),
    "cut-short": COFFEE[: len(COFFEE) // 2],
    "empty": b"",
}


class Storage:
    """A storage service; some ids answer in their own way."""

    def __init__(self) -> None:
        self.requests: list[web.Request] = []
        self.connections: set[int] = set()
        self.never = asyncio.Event()
        self.lists: dict[str, web.Response] = {}
        self.strays: list[str] = []

    async def image(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        assert request.transport is not None
        self.connections.add(id(request.transport))
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        image_id = request.match_info["image_id"]
        if image_id == "never":
            await self.never.wait()
        if image_id == "endless":
            return await self._endless(request)
        if image_id == "announced":
            return await self._announced(request)
        if image_id == "dropped":
            return await self._dropped(request)
        if image_id.startswith("status-"):
            return web.Response(status=int(image_id.removeprefix("status-")), body=b"a page of text")
        if image_id not in FILES:
            return web.Response(status=404)
        return web.Response(body=FILES[image_id], content_type="image/png")

    async def images(self, request: web.Request) -> web.Response:
        return self.lists[request.match_info["pet_id"]]

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async def _announced(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(LIMIT + 1)})
        await response.prepare(request)
        await self.never.wait()
        return response

    async def stray(self, request: web.Request) -> web.Response:
        self.strays.append(request.path)
        return web.Response(status=404)

    async def _dropped(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.close()
        return response


@asynccontextmanager
async def served(storage: Storage) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/prefix/internal/images/{image_id}", storage.image)
    app.router.add_get("/prefix/internal/pets/{pet_id}/images-with-embeddings", storage.images)
    app.router.add_get("/{path:.*}", storage.stray)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/prefix"
    finally:
        storage.never.set()
        await runner.cleanup()


@pytest.fixture
async def storage() -> Storage:
    return Storage()


@pytest.fixture
async def http_source(storage: Storage) -> AsyncIterator[StorageServiceSource]:
    async with served(storage) as url, client_session(connections=4, timeout=10) as session:
        yield StorageServiceSource(url, TOKEN, max_bytes=LIMIT, session=session)


@pytest.fixture
def folder_source(tmp_path: Path) -> FsspecSource:
    (tmp_path / "photos").mkdir()
    (tmp_path / "secret.png").write_bytes(b"outside")
    for name, data in FILES.items():
        (tmp_path / "photos" / f"{name}.png").write_bytes(data)
    return FsspecSource(
        f"file://{tmp_path}/photos/{{image_id}}.png", max_bytes=LIMIT, timeout=10, executor=ThreadPoolExecutor(2)
    )


@pytest.fixture(params=["storage service", "fsspec folder"])
def source(request: pytest.FixtureRequest) -> ImageSource:
    name = "http_source" if request.param == "storage service" else "folder_source"
    found: ImageSource = request.getfixturevalue(name)
    return found


def assert_holds_no_secret(reason: str, *secrets: str) -> None:
    assert [secret for secret in (TOKEN, *secrets) if secret in reason] == []


class TestEverySource:
    @pytest.mark.parametrize("image_id", ["coffee", "A.b_c:d-1", "at-the-limit", "empty", "cut-short"])
    async def test_the_bytes_come_back_as_they_are(self, source: ImageSource, image_id: str) -> None:
        assert await source.fetch(image_id) == FILES[image_id]

    async def test_a_missing_image_is_not_found(self, source: ImageSource) -> None:
        with pytest.raises(ImageError) as caught:
            await source.fetch("nowhere")
        assert caught.value.kind == "not_found"

    async def test_a_file_over_the_limit_is_too_large(self, source: ImageSource) -> None:
        with pytest.raises(ImageError, match=str(LIMIT)) as caught:
            await source.fetch("over-the-limit")
        assert caught.value.kind == "too_large"
        assert await source.fetch("coffee") == COFFEE

    @pytest.mark.parametrize("image_id", ["..", ".", "../secret", "%2e%2e", "a/b", "", "x" * 129])
    async def test_an_id_never_leaves_its_folder(self, source: ImageSource, image_id: str) -> None:
        with pytest.raises(ImageError):
            await source.fetch(image_id)

    async def test_many_fetches_at_a_time_do_not_mix(self, source: ImageSource) -> None:
        ids = ["coffee", "A.b_c:d-1", "cut-short"] * 10
        assert await asyncio.gather(*(source.fetch(image_id) for image_id in ids)) == [FILES[one] for one in ids]

    async def test_a_file_cut_short_is_found_out_when_decoded(self, source: ImageSource) -> None:
        with pytest.raises(ImageError) as caught:
            decode(await source.fetch("cut-short"), size=224, max_pixels=10**8)
        assert caught.value.kind == "truncated"


class TestStorageService:
    async def test_connections_are_reused(self, http_source: StorageServiceSource, storage: Storage) -> None:
        for image_id in ("coffee", "nowhere", "coffee", "status-500", "coffee", "A.b_c:d-1"):
            try:
                await http_source.fetch(image_id)
            except (ImageError, RetryLater):
                continue
        assert len(storage.requests) == 6
        assert len(storage.connections) == 1

    @pytest.mark.parametrize("status", [401, 403, 408, 425, 429, 500, 502, 503, 504, 204])
    async def test_what_may_pass_is_retried(self, http_source: StorageServiceSource, status: int) -> None:
        with pytest.raises(RetryLater, match=str(status)):
            await http_source.fetch(f"status-{status}")

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(400, "refused"), (404, "not_found"), (410, "not_found"), (413, "too_large"), (422, "refused")],
    )
    async def test_what_stays_wrong_fails_the_image(
        self, http_source: StorageServiceSource, status: int, kind: str
    ) -> None:
        with pytest.raises(ImageError) as caught:
            await http_source.fetch(f"status-{status}")
        assert caught.value.kind == kind

    async def test_a_body_without_a_length_is_given_up_at_the_limit(self, http_source: StorageServiceSource) -> None:
        with pytest.raises(ImageError) as caught:
            await http_source.fetch("endless")
        assert caught.value.kind == "too_large"

    async def test_a_length_over_the_limit_is_not_waited_for(self, http_source: StorageServiceSource) -> None:
        with pytest.raises(ImageError) as caught:
            await http_source.fetch("announced")
        assert caught.value.kind == "too_large"

    @pytest.mark.parametrize("image_id", [".", "..", "../pets", "a/../../b"])
    async def test_an_id_is_never_another_address(
        self, http_source: StorageServiceSource, storage: Storage, image_id: str
    ) -> None:
        with pytest.raises(ImageError):
            await http_source.fetch(image_id)
        assert storage.strays == []

    async def test_a_connection_that_breaks_in_the_middle_is_retried(self, http_source: StorageServiceSource) -> None:
        with pytest.raises(RetryLater):
            await http_source.fetch("dropped")

    async def test_silence_is_retried(self, storage: Storage) -> None:
        async with served(storage) as url, client_session(connections=1, timeout=0.2) as session:
            source = StorageServiceSource(url, TOKEN, max_bytes=LIMIT, session=session)
            with pytest.raises(RetryLater, match="in time"):
                await source.fetch("never")

    async def test_a_service_that_is_down_is_retried(self, storage: Storage) -> None:
        async with served(storage) as url:
            pass
        async with client_session(connections=1, timeout=5) as session:
            with pytest.raises(RetryLater, match="cannot be reached: ClientConnector") as caught:
                await StorageServiceSource(url, TOKEN, max_bytes=LIMIT, session=session).fetch("coffee")
        assert_holds_no_secret(str(caught.value), "127.0.0.1", url.rpartition(":")[2].partition("/")[0])

    async def test_a_wrong_token_is_retried_and_named(self, storage: Storage) -> None:
        async with served(storage) as url, client_session(connections=1, timeout=5) as session:
            source = StorageServiceSource(url, "wrong", max_bytes=LIMIT, session=session)
            with pytest.raises(RetryLater, match="STORAGE_SERVICE_TOKEN") as caught:
                await source.fetch("coffee")
        assert "wrong" not in str(caught.value)

    async def test_the_images_of_a_pet_are_listed(self, http_source: StorageServiceSource, storage: Storage) -> None:
        storage.lists["rex"] = web.json_response({"image_ids": ["a", "b"], "more": 1})
        assert await http_source.list_images("rex") == ("a", "b")

    @pytest.mark.parametrize("status", [404, 405, 501])
    async def test_a_service_without_the_list_says_nothing(
        self, http_source: StorageServiceSource, storage: Storage, status: int
    ) -> None:
        storage.lists["rex"] = web.Response(status=status)
        assert await http_source.list_images("rex") is None

    @pytest.mark.parametrize("answer", [b"[]", b'{"image_ids": [1]}', b"<html>", b'{"ids": []}'])
    async def test_an_unreadable_list_is_retried(
        self, http_source: StorageServiceSource, storage: Storage, answer: bytes
    ) -> None:
        storage.lists["rex"] = web.Response(body=answer)
        with pytest.raises(RetryLater, match="list of images"):
            await http_source.list_images("rex")

    @pytest.mark.parametrize("url", ["", "storage:8000", "ftp://storage", "/internal"])
    async def test_a_wrong_address_is_a_refused_start(self, url: str) -> None:
        async with client_session(connections=1, timeout=1) as session:
            with pytest.raises(StopProcess, match="STORAGE_SERVICE_URL"):
                StorageServiceSource(url, TOKEN, max_bytes=LIMIT, session=session)

    @pytest.mark.parametrize("image_id", ["nowhere", "over-the-limit", "status-403", "status-500", "dropped"])
    async def test_no_reason_holds_the_address_or_the_token(
        self, http_source: StorageServiceSource, image_id: str
    ) -> None:
        with pytest.raises((ImageError, RetryLater)) as caught:
            await http_source.fetch(image_id)
        assert_holds_no_secret(str(caught.value), "127.0.0.1", "prefix", "http")

    @pytest.mark.parametrize("url", ["ftp://user:hush@storage", "http://user:hush@storage:port"])
    async def test_a_refused_address_is_not_repeated(self, url: str) -> None:
        async with client_session(connections=1, timeout=1) as session:
            with pytest.raises(StopProcess) as caught:
                StorageServiceSource(url, TOKEN, max_bytes=LIMIT, session=session)
        assert_holds_no_secret(str(caught.value), "hush", "storage:")


class TalkativeFiles(AbstractFileSystem):
    """A file system whose errors repeat the whole URL, as real ones do."""

    protocol = "hushfs"
    go_on = threading.Event()

    def open(self, path: str, mode: str = "rb", **_options: object) -> BinaryIO:
        if path.endswith("slow"):
            self.go_on.wait(30)
        error = FileNotFoundError if path.endswith("nowhere") else RuntimeError
        raise error(f"GET hushfs://user:{HUSH}@inner.host/{path}")


class TestFsspec:
    async def test_a_folder_lists_no_pets(self, folder_source: FsspecSource) -> None:
        assert await folder_source.list_images("rex") is None

    async def test_a_file_that_cannot_be_read_is_retried(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        source = FsspecSource(f"file://{tmp_path}/{{image_id}}", max_bytes=9, timeout=5, executor=ThreadPoolExecutor(1))
        with pytest.raises(RetryLater, match="image loop cannot be read: OSError") as caught:
            await source.fetch("loop")
        assert_holds_no_secret(str(caught.value), str(tmp_path))

    @pytest.mark.parametrize("image_id", ["nowhere", "down"])
    async def test_no_reason_or_log_line_holds_the_template(
        self, capsys: pytest.CaptureFixture[str], image_id: str
    ) -> None:
        """Credentials may stand in it, and a file system's own error may repeat it."""
        template = f"hushfs://user:{HUSH}@inner.host/{{image_id}}"
        fsspec.register_implementation("hushfs", TalkativeFiles, clobber=True)
        source = FsspecSource(template, max_bytes=9, timeout=5, executor=ThreadPoolExecutor(1))
        with pytest.raises((ImageError, RetryLater), match=image_id) as caught:
            await source.fetch(image_id)
        shown = capsys.readouterr()
        assert_holds_no_secret(f"{caught.value} {shown.out} {shown.err}", HUSH, "inner.host")

    async def test_silence_names_the_image_only(self) -> None:
        fsspec.register_implementation("hushfs", TalkativeFiles, clobber=True)
        template = f"hushfs://user:{HUSH}@inner.host/{{image_id}}"
        source = FsspecSource(template, max_bytes=9, timeout=0.1, executor=ThreadPoolExecutor(1))
        try:
            with pytest.raises(RetryLater, match="image slow does not come in time") as caught:
                await source.fetch("slow")
        finally:
            TalkativeFiles.go_on.set()
        assert_holds_no_secret(str(caught.value), HUSH, "inner.host")

    async def test_a_folder_is_no_image(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        source = FsspecSource(f"file://{tmp_path}/{{image_id}}", max_bytes=9, timeout=5, executor=ThreadPoolExecutor(1))
        with pytest.raises(ImageError) as caught:
            await source.fetch("folder")
        assert caught.value.kind == "not_found"

    @pytest.mark.parametrize(
        "template",
        [
            "file:///photos/x.jpg",
            "file:///photos/{image_id}/{pet_id}",
            "file:///{image_id}/{image_id}",
            "/photos/{image_id}",
            "file:///photos/{image_id",
            "{image_id}",
            "nosuchscheme://bucket/{image_id}",
        ],
    )
    def test_a_wrong_template_is_a_refused_start(self, template: str) -> None:
        with pytest.raises(StopProcess, match="IMAGE_SOURCE") as caught:
            FsspecSource(template, max_bytes=1, timeout=1, executor=ThreadPoolExecutor(1))
        assert_holds_no_secret(str(caught.value), "photos", "bucket")
