"""However many threads decode, they hold a bounded number of full-size pixels together."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from agents.embedder.batcher import Batcher
from agents.embedder.constant_time import ConstantTimeEmbedder
from agents.images import decode as decoding
from agents.images.pipeline import ImagePipeline
from agents.images.pixel_budget import PixelBudget
from tests.photos import encoded, photo

PICTURE = photo("coffee.png")
PIXELS = PICTURE.width * PICTURE.height
SECONDS = 10.0


class OnePicture:
    """A source of one picture under every id."""

    max_bytes = 2_000_000

    async def fetch(self, _image_id: str) -> bytes:
        return encoded(PICTURE, "PNG")

    async def list_images(self, _pet_id: str) -> tuple[str, ...] | None:
        return None


@pytest.mark.parametrize("pictures", [1, 2])
async def test_no_more_pictures_are_decoded_at_a_time_than_the_budget_holds(
    pictures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[int] = []
    lock, load = threading.Lock(), decoding._load
    held = 0

    def watched_load(image: Image.Image) -> Image.Image:
        nonlocal held
        with lock:
            held += 1
            inside.append(held)
        try:
            return load(image)
        finally:
            with lock:
                held -= 1

    monkeypatch.setattr(decoding, "_load", watched_load)
    batcher = Batcher(ConstantTimeEmbedder(seconds_per_batch=0, dimension=8))
    await batcher.start()
    with ThreadPoolExecutor(8) as threads:
        images = ImagePipeline(
            OnePicture(), batcher, decode_executor=threads, max_pixels=PIXELS, in_flight_pixels=pictures * PIXELS
        )
        await asyncio.gather(*(images.embed_image(str(number)) for number in range(24)))
    await batcher.stop()
    assert len(inside) == 24
    assert max(inside) <= pictures


def test_a_budget_below_one_picture_is_refused() -> None:
    options: dict[str, Any] = {"max_pixels": PIXELS, "in_flight_pixels": PIXELS - 1}
    with ThreadPoolExecutor(1) as threads, pytest.raises(ValueError, match="in_flight_pixels"):
        ImagePipeline(
            OnePicture(),
            Batcher(ConstantTimeEmbedder(seconds_per_batch=0, dimension=8)),
            decode_executor=threads,
            **options,
        )


def test_pixels_are_given_back_whatever_happens_and_a_giant_gets_all_of_them() -> None:
    budget = PixelBudget(100)
    with pytest.raises(ZeroDivisionError), budget.reserve(60):
        _ = budget.free / (budget.free - 40)
    with budget.reserve(1_000):
        assert budget.free == 0
    assert budget.free == 100


def test_a_thread_waits_until_there_is_room() -> None:
    budget, through = PixelBudget(100), threading.Event()

    def take() -> None:
        with budget.reserve(50):
            through.set()

    with budget.reserve(60):
        waiting = threading.Thread(target=take)
        waiting.start()
        assert not through.wait(0.1)
    waiting.join(SECONDS)
    assert through.is_set()
