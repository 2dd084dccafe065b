"""Small pictures of images, from where the settings say that images come from. Called by `page`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from agents.images.decode import decode
from agents.images.errors import ImageError
from agents.images.fail_fast import FailFast
from agents.images.pixel_budget import PixelBudget
from app.html_page import THUMB, small_jpeg
from app.image_source import open_image_source
from app.settings import Settings
from schemas.errors import RetryLater


async def small_pictures(settings: Settings, image_ids: Iterable[str]) -> tuple[dict[str, bytes], dict[str, str]]:
    """(image → JPEG, image → why it cannot be had). Raises StopProcess when the source cannot be opened at all."""
    found: dict[str, bytes] = {}
    missing: dict[str, str] = {}
    budget, threads = PixelBudget(settings.image_max_pixels), os.cpu_count() or 1
    loop, turns = asyncio.get_running_loop(), asyncio.Semaphore(settings.image_concurrency)
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as executor:
        async with open_image_source(settings) as opened:
            source = FailFast(opened)

            async def get(image_id: str) -> None:
                async with turns:
                    try:
                        data = await source.fetch(image_id)
                        found[image_id] = await loop.run_in_executor(
                            executor, _small, data, settings.image_max_pixels, budget
                        )
                    except (ImageError, RetryLater) as error:
                        missing[image_id] = str(error)

            await asyncio.gather(*map(get, dict.fromkeys(image_ids)))
    return found, missing


def _small(data: bytes, max_pixels: int, budget: PixelBudget) -> bytes:
    """As displayed, with its proportions: the decoder gives a square."""
    decoded = decode(data, size=THUMB, max_pixels=max_pixels, budget=budget)
    scale = THUMB / max(decoded.width, decoded.height)
    size = max(round(decoded.width * scale), 1), max(round(decoded.height * scale), 1)
    return small_jpeg(Image.fromarray(decoded.pixels).resize(size, Image.Resampling.BICUBIC), THUMB)
