"""Embeds the albums' pictures as the embed role does: its pipeline, its default model. Used by cache.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from agents.embedder.batcher import Batcher
from agents.embedder.default_model import default_model
from agents.embedder.session import OnnxSession
from agents.images.pipeline import ImagePipeline
from schemas.facts import EmbeddedImage
from tests.evaluation.albums import Album, picture
from tests.evaluation.photographs import Photograph

MAX_BYTES: Final = 4 * 2**20


class Renderer:
    """An `ImageSource` whose images are made when they are asked for. Ids are `image_id`'s."""

    max_bytes = MAX_BYTES

    def __init__(self, albums: Sequence[Album], photographs: Mapping[str, Photograph], threads: ThreadPoolExecutor):
        self._albums, self._photographs, self._threads = albums, photographs, threads

    async def fetch(self, image_id: str) -> bytes:
        """The JPEG; see `ImageSource.fetch`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._render, image_id)

    async def list_images(self, pet_id: str) -> tuple[str, ...] | None:
        """No list is kept."""
        return None

    def _render(self, image_id: str) -> bytes:
        album, shot = map(int, image_id.split("-"))
        return picture(self._albums[album].shots[shot], self._albums[album], self._photographs)


def image_id(album: int, shot: int) -> str:
    """Id of a picture by its place in the plan."""
    return f"{album}-{shot:04}"


def embed(
    albums: Sequence[Album], photographs: Sequence[Photograph], models: Path, tell: Callable[[], None]
) -> list[list[EmbeddedImage]]:
    """What the embed role records of every picture, album by album. `models`: folder of the default model's file.

    `tell` is called after each picture. Raises what the pipeline raises.
    """
    return asyncio.run(_embed(albums, {p.name: p for p in photographs}, models, tell))


async def _embed(
    albums: Sequence[Album], photographs: Mapping[str, Photograph], models: Path, tell: Callable[[], None]
) -> list[list[EmbeddedImage]]:
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as threads:
        batcher = Batcher(OnnxSession(default_model(models), device="cpu"))
        pipeline = ImagePipeline(Renderer(albums, photographs, threads), batcher, decode_executor=threads)

        async def one(album: int, shot: int) -> EmbeddedImage:
            image = await pipeline.embed_image(image_id(album, shot))
            tell()
            return image

        await batcher.start()
        try:
            return [
                list(await asyncio.gather(*(one(number, shot) for shot in range(len(album.shots)))))
                for number, album in enumerate(albums)
            ]
        finally:
            await batcher.stop()
