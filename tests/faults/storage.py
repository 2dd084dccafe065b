"""An image storage that can be made to misbehave. Run by stack.py; its routes are those of the storage service.

Every id has an image: one of a few photos, chosen by the id, so that no run is short of new images. Ids that begin with
``missing`` have none.
"""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Sequence
from typing import Final, Literal

from aiohttp import web

from app.local.ports import HOST
from tests.photos import encoded, photo

Mood = Literal["well", "unavailable", "slow", "truncating"]

MISSING: Final = "missing"
SLOW_SECONDS: Final = 3.0
"""Longest; each answer takes its own time, so that commands overtake each other."""
LISTED: Final = 3
SIDE: Final = 96
_PHOTOS: Final = ("chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg")
_SHOTS: Final = 6


def album() -> list[bytes]:
    """A few small photos, several shots of each."""
    files = []
    for name in _PHOTOS:
        picture = photo(name)
        for shot in range(_SHOTS):
            left, top = 11 * shot, 7 * shot
            box = (left, top, picture.width - 5 * shot, picture.height - 3 * shot)
            files.append(encoded(picture.crop(box).resize((SIDE, SIDE)), quality=80))
    return files


def listed_images(pet_id: str) -> list[str]:
    """The images that the storage names for a pet, for jobs that name none."""
    return [f"{pet_id}-listed-{number}" for number in range(LISTED)]


class MoodyStorage:
    """Serves from `open` to `close`, as often as wanted; `mood` may be changed at any time."""

    def __init__(self, port: int, files: Sequence[bytes]) -> None:
        self.port = port
        self.mood: Mood = "well"
        self._files = files
        self._rng = random.Random(port)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """What STORAGE_SERVICE_URL is set to."""
        return f"http://{HOST}:{self.port}"

    async def open(self) -> None:
        """Begin to listen."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/internal/images/{image_id}", self._image),
                web.get("/internal/pets/{pet_id}/images-with-embeddings", self._list),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self.port, reuse_address=True).start()

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _image(self, request: web.Request) -> web.StreamResponse:
        image_id = request.match_info["image_id"]
        await self._misbehave()
        if image_id.startswith(MISSING):
            raise web.HTTPNotFound(text="no such image")
        body = self._files[zlib.crc32(image_id.encode()) % len(self._files)]
        if self.mood == "truncating":
            return await _cut(request, body)
        return web.Response(body=body, content_type="image/jpeg")

    async def _list(self, request: web.Request) -> web.StreamResponse:
        await self._misbehave()
        return web.json_response({"image_ids": listed_images(request.match_info["pet_id"])})

    async def _misbehave(self) -> None:
        if self.mood == "unavailable":
            raise web.HTTPServiceUnavailable(text="try again later")
        if self.mood == "slow":
            await asyncio.sleep(self._rng.uniform(0.0, SLOW_SECONDS))


async def _cut(request: web.Request, body: bytes) -> web.StreamResponse:
    """Promise the whole body, send half of it, and hang up."""
    response = web.StreamResponse(headers={"Content-Type": "image/jpeg", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
