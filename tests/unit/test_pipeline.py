"""From an id to a measured vector, on real photos; and that the pipeline stays within its bounds."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agents.embedder.batcher import Batcher
from agents.embedder.constant_time import ConstantTimeEmbedder
from agents.embedder.embedder import Pixels, Vectors
from agents.images.byte_budget import ByteBudget
from agents.images.errors import ImageError
from agents.images.pipeline import ImagePipeline
from schemas.errors import RetryLater
from tables.vectors import dequantize
from tests.photos import encoded, photo

DIMENSION = 64
EXIF = Image.Exif()
EXIF[0x0112] = 6
EXIF.get_ifd(0x8769)[0x9003] = "2024:02:29 17:05:09"


class Folder:
    """A source in memory that counts its fetches, and holds fetches back while `gate` is closed."""

    def __init__(self, files: dict[str, bytes], max_bytes: int = 2_000_000) -> None:
        self.files, self.max_bytes = files, max_bytes
        self.inside = self.fetched = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, image_id: str) -> bytes:
        self.inside += 1
        try:
            await self.gate.wait()
        finally:
            self.inside -= 1
        self.fetched += 1
        if image_id == "down":
            raise RetryLater("down")
        try:
            return self.files[image_id]
        except KeyError:
            raise ImageError("not_found", "no such file") from None

    async def list_images(self, pet_id: str) -> tuple[str, ...] | None:
        return None


class Blind(ConstantTimeEmbedder):
    """Has no vector for any image."""

    def embed(self, batch: Pixels) -> Vectors:
        return np.full((len(batch), self.dimension), np.nan, np.float32)


@asynccontextmanager
async def pipeline(
    source: Folder, *, blind: bool = False, decode_gate: threading.Event | None = None, **options: Any
) -> AsyncIterator[ImagePipeline]:
    kind = Blind if blind else ConstantTimeEmbedder
    batcher = Batcher(kind(seconds_per_batch=0, dimension=DIMENSION))
    await batcher.start()
    with ThreadPoolExecutor(1) as executor:
        if decode_gate is not None:
            executor.submit(decode_gate.wait, 10)
        try:
            yield ImagePipeline(source, batcher, decode_executor=executor, **options)
        finally:
            source.gate.set()
            await batcher.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # a source's counter sets no event
            await asyncio.sleep(0)


COFFEE = encoded(photo("coffee.png").transpose(Image.Transpose.ROTATE_90), "JPEG", quality=90, exif=EXIF.tobytes())


async def test_everything_about_an_image_is_recorded() -> None:
    async with pipeline(Folder({"coffee": COFFEE, "cat": encoded(photo("chelsea.png"))})) as images:
        coffee, cat = await asyncio.gather(images.embed_image("coffee"), images.embed_image("cat"))
    assert coffee.image_id == "coffee"
    assert (coffee.width, coffee.height) == (600, 400)
    assert coffee.taken_at == "2024-02-29T17:05:09"
    assert cat.taken_at == ""
    assert coffee.size_bytes == len(COFFEE)
    assert coffee.sha256 == hashlib.sha256(COFFEE).digest()
    assert len(coffee.vector) == 2 * DIMENSION
    assert np.linalg.norm(dequantize(coffee.vector)) == pytest.approx(4096, rel=0.01)
    assert 0.4 < coffee.quality.score < 1
    assert (coffee.phash ^ cat.phash).bit_count() > 10


async def test_the_same_file_gives_the_same_record() -> None:
    async with pipeline(Folder({"one": COFFEE})) as images:
        first, second = await images.embed_image("one"), await images.embed_image("one")
    assert first == second


async def test_bad_images_fail_alone_each_with_its_kind() -> None:
    files = {
        "good": COFFEE,
        "text": b"hello",
        "half": COFFEE[: len(COFFEE) // 2],
        "pdf": b"%PDF-1.7",
        "huge": encoded(Image.new("1", (1001, 1000)), "PNG"),
    }
    ids = ["good", "text", "half", "pdf", "huge", "missing", "down", "good"]
    async with pipeline(Folder(files), max_pixels=1_000_000) as images:
        results = await asyncio.gather(*(images.embed_image(one) for one in ids), return_exceptions=True)
    kinds = [error.kind if isinstance(error, ImageError) else type(error).__name__ for error in results]
    assert kinds == [
        "EmbeddedImage",
        "not_an_image",
        "truncated",
        "unsupported_type",
        "too_many_pixels",
        "not_found",
        "RetryLater",
        "EmbeddedImage",
    ]


async def test_an_image_without_a_vector_is_a_bad_vector() -> None:
    async with pipeline(Folder({"coffee": COFFEE}), blind=True) as images:
        with pytest.raises(ImageError) as caught:
            await images.embed_image("coffee")
    assert caught.value.kind == "bad_vector"


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"fetch_concurrency": 3}, 3),
        ({"in_flight_bytes": 4_000_000}, 2),
        ({"in_flight_bytes": 2_000_000}, 1),
    ],
)
async def test_fetches_stay_within_the_bounds(options: dict[str, Any], most: int) -> None:
    source = Folder({str(n): COFFEE for n in range(12)})
    source.gate.clear()
    async with pipeline(source, **options) as images:
        tasks = [asyncio.create_task(images.embed_image(str(n))) for n in range(12)]
        await until(lambda: source.inside == most)
        for _ in range(50):  # would let a further fetch in, were there a way
            await asyncio.sleep(0)
        assert source.inside == most
        source.gate.set()
        await asyncio.gather(*tasks)


async def test_files_that_wait_for_decoding_hold_only_their_own_size() -> None:
    source, decode_gate = Folder({"coffee": COFFEE}), threading.Event()
    async with pipeline(source, decode_gate=decode_gate, in_flight_bytes=4_000_000) as images:
        tasks = [asyncio.create_task(images.embed_image("coffee")) for _ in range(12)]
        # Two files of the largest size fit, and so do twelve small ones.
        await until(lambda: source.fetched == 12)
        decode_gate.set()
        await asyncio.gather(*tasks)


async def test_cancelled_and_failed_images_give_their_places_back() -> None:
    source = Folder({"coffee": COFFEE})
    source.gate.clear()
    async with pipeline(source, fetch_concurrency=2, in_flight_bytes=4_000_000) as images:
        tasks = [asyncio.create_task(images.embed_image("coffee")) for _ in range(6)]
        await until(lambda: source.inside == 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        source.gate.set()
        for image_id in ("missing", "down", "missing"):
            with pytest.raises((ImageError, RetryLater)):
                await images.embed_image(image_id)
        results = await asyncio.gather(*(images.embed_image("coffee") for _ in range(4)))
    assert len(results) == 4


async def test_bounds_that_hold_no_image_are_refused() -> None:
    with pytest.raises(ValueError, match="in_flight_bytes"):
        async with pipeline(Folder({}), in_flight_bytes=1_999_999):
            pass
    with pytest.raises(ValueError, match="fetch_concurrency"):
        async with pipeline(Folder({}), fetch_concurrency=0):
            pass


async def test_a_budget_lends_in_the_order_of_asking() -> None:
    budget, served = ByteBudget(10), list[str]()
    release = asyncio.Event()

    async def hold(name: str, amount: int) -> None:
        async with budget.reserve(amount):
            served.append(name)
            await release.wait()

    first = asyncio.create_task(hold("first", 6))
    await until(lambda: served == ["first"])
    large = asyncio.create_task(hold("large", 8))
    await asyncio.sleep(0)
    small = asyncio.create_task(hold("small", 2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert served == ["first"]  # `small` would fit, but does not overtake
    large.cancel()
    await until(lambda: served == ["first", "small"])
    release.set()
    await asyncio.gather(first, small)
    assert budget.free == 10


async def test_a_budget_loses_nothing_when_a_lender_is_cancelled_in_the_same_moment() -> None:
    budget = ByteBudget(10)

    async def take() -> None:
        async with budget.reserve(10):
            pass

    async with budget.reserve(10) as held:
        waiting = asyncio.create_task(take())
        await asyncio.sleep(0)
        held.shrink(0)  # lends to `waiting`, which has not run yet
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert budget.free == 10
    with pytest.raises(ValueError, match="over the budget"):
        async with budget.reserve(11):
            pass


async def test_a_reservation_never_grows() -> None:
    budget = ByteBudget(10)
    async with budget.reserve(6) as held:
        held.shrink(4)
        assert budget.free == 6
        held.shrink(9)
        assert budget.free == 6
    assert budget.free == 10
