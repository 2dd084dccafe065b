"""Images from the storage service over HTTP. Opened by `app` when STORAGE_SERVICE_URL is set.

GET {base}/internal/images/{image_id}                     → the file's bytes
GET {base}/internal/pets/{pet_id}/images-with-embeddings  → {"image_ids": [...]}
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from agents.images.errors import ImageError
from agents.images.sources import check_image_id, too_large
from schemas.errors import RetryLater, StopProcess
from schemas.ids import check_id

CHUNK_BYTES: Final = 64 * 1024
NO_SUCH_ROUTE: Final = (404, 405, 501)
GONE: Final = (404, 410)
# Asking again helps; everything else from 400 to 499 is about this one image.
TEMPORARY: Final = (408, 425, 429)


class _ImageList(msgspec.Struct):
    image_ids: list[str]


def client_session(*, connections: int, timeout: float) -> aiohttp.ClientSession:
    """A session that keeps at most `connections` open and reuses them; `timeout` seconds for one whole image.

    Must be called on the event loop that uses it; the caller closes it.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=timeout),
        auto_decompress=False,  # images are compressed already; a gzip bomb would get past the limit on size
        headers={"Accept-Encoding": "identity"},
    )


class StorageServiceSource:
    """An `ImageSource`. The session (see `client_session`) belongs to the caller.

    Reasons are published, so no error holds the address, which aiohttp's own words do, or the token.

    Raises StopProcess when `base_url` is no http(s) address.
    """

    def __init__(self, base_url: str, token: str, *, max_bytes: int, session: aiohttp.ClientSession) -> None:
        try:
            self._base = URL(base_url)
        except ValueError as error:
            raise StopProcess("STORAGE_SERVICE_URL: is no address") from error
        if self._base.scheme not in ("http", "https") or not self._base.host:
            raise StopProcess("STORAGE_SERVICE_URL: must be an http(s) address")
        self.max_bytes = max_bytes
        self._headers = {"Authorization": f"Bearer {token}"}
        self._session = session

    async def fetch(self, image_id: str) -> bytes:
        """See `ImageSource.fetch`."""
        url = self._base.joinpath("internal", "images", check_image_id(image_id))
        async with self._get(url) as response:
            _check_status(response.status)
            return await self._read(response)

    async def list_images(self, pet_id: str) -> tuple[str, ...] | None:
        """See `ImageSource.list_images`; the service may lack the route."""
        url = self._base.joinpath("internal", "pets", check_id(pet_id, "pet_id"), "images-with-embeddings")
        async with self._get(url) as response:
            if response.status in NO_SUCH_ROUTE:
                return None
            _check_status(response.status)
            body = await self._read(response)
        try:
            return tuple(msgspec.json.decode(body, type=_ImageList).image_ids)
        except msgspec.MsgspecError as error:
            raise RetryLater(f"the storage service's list of images is not readable: {error}") from error

    @asynccontextmanager
    async def _get(self, url: URL) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.get(url, headers=self._headers) as response:
                yield response
        except TimeoutError as error:
            raise RetryLater("the storage service does not answer in time") from error
        except aiohttp.ClientError as error:
            raise RetryLater(f"the storage service cannot be reached: {type(error).__name__}") from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The body, given up as soon as it is over the limit, whatever its header says."""
        if (response.content_length or 0) > self.max_bytes:
            raise too_large(self.max_bytes)
        body = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            body += chunk
            if len(body) > self.max_bytes:
                raise too_large(self.max_bytes)
        return bytes(body)


def _check_status(status: int) -> None:
    if status == 200:
        return
    if status in GONE:
        raise ImageError("not_found", f"the storage service does not have it ({status})")
    if status == 413:
        raise ImageError("too_large", "the storage service calls it too large (413)")
    if status in (401, 403):
        # A wrong token is a mistake of ours, not the image's: it is tried again once an operator has mended it.
        raise RetryLater(f"the storage service refuses STORAGE_SERVICE_TOKEN ({status})")
    if 400 <= status < 500 and status not in TEMPORARY:
        raise ImageError("refused", f"the storage service refuses the id ({status})")
    raise RetryLater(f"the storage service answers {status}")
