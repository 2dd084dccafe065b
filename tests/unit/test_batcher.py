"""Batches form across callers; one image's trouble stays its own; nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from agents.embedder.batcher import BadVector, Batcher
from agents.embedder.constant_time import ConstantTimeEmbedder
from agents.embedder.embedder import Pixels, Vectors
from schemas.errors import RetryLater, StopProcess

SIDE = 4
BAD, FAILING = 66, 99


class ByBrightness:
    """An embedder whose vector is the brightness: 66 has no vector, 99 makes the whole batch fail."""

    model_id, dimension, input_size, device = "by-brightness@1", 2, SIDE, "cpu"

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.broken = False

    def embed(self, batch: Pixels) -> Vectors:
        self.entered.set()
        assert self.gate.wait(10)
        self.batches.append(len(batch))
        self.threads.add(threading.get_ident())
        values = batch[:, 0, 0, 0].astype(np.float32)
        if self.broken or FAILING in values:
            raise RuntimeError("CUDA error")
        return np.stack([np.where(values == BAD, np.nan, values), np.zeros_like(values)], axis=1)


def picture(brightness: int) -> Pixels:
    return np.full((SIDE, SIDE, 3), brightness, np.uint8)


@asynccontextmanager
async def running(embedder: ByBrightness, **options: float) -> AsyncIterator[Batcher]:
    batcher = Batcher(embedder, **options)  # type: ignore[arg-type]
    await batcher.start()
    try:
        yield batcher
    finally:
        embedder.gate.set()
        await batcher.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the inference thread sets no asyncio event
            await asyncio.sleep(0)


async def test_each_caller_gets_the_vector_of_its_own_image() -> None:
    embedder = ByBrightness()
    async with running(embedder, max_batch=7) as batcher:
        vectors = await asyncio.gather(*(batcher.embed(picture(n)) for n in range(50)))
    assert [vector[0] for vector in vectors] == list(range(50))
    assert max(embedder.batches) == 7
    assert sum(embedder.batches) == 50
    assert len(embedder.batches) <= 10
    assert embedder.threads.isdisjoint({threading.get_ident()})
    assert len(embedder.threads) == 1


async def test_images_that_arrive_during_an_inference_form_the_next_batch() -> None:
    embedder = ByBrightness()
    embedder.gate.clear()
    async with running(embedder, max_batch=16, max_wait_ms=0) as batcher:
        first = asyncio.create_task(batcher.embed(picture(1)))
        await until(embedder.entered.is_set)
        others = [asyncio.create_task(batcher.embed(picture(n))) for n in range(2, 12)]
        await until(lambda: batcher.waiting == 11)
        embedder.gate.set()
        await asyncio.gather(first, *others)
    assert embedder.batches == [1, 10]


async def test_an_image_without_a_vector_fails_alone() -> None:
    async with running(ByBrightness(), max_batch=4) as batcher:
        results = await asyncio.gather(*(batcher.embed(picture(n)) for n in (1, BAD, 3)), return_exceptions=True)
    assert isinstance(results[1], BadVector)
    assert [results[0][0], results[2][0]] == [1, 3]  # type: ignore[index]


async def test_an_image_that_makes_its_batch_fail_does_not_take_the_others_along() -> None:
    embedder = ByBrightness()
    async with running(embedder, max_batch=4, max_wait_ms=1000) as batcher:
        tasks = [batcher.embed(picture(n)) for n in (1, 2, FAILING, 4)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[2], RetryLater)
    assert [results[n][0] for n in (0, 1, 3)] == [1, 2, 4]  # type: ignore[index]
    assert embedder.batches == [4, 1, 1, 1, 1]


@pytest.mark.parametrize("images", [1, 3])
async def test_a_model_that_fails_on_everything_stops_the_process(images: int) -> None:
    embedder = ByBrightness()
    embedder.broken = True
    async with running(embedder, max_batch=4) as batcher:
        results = await asyncio.gather(*(batcher.embed(picture(n)) for n in range(images)), return_exceptions=True)
    assert all(isinstance(result, StopProcess) for result in results)


async def test_a_cancelled_caller_leaves_the_others_alone() -> None:
    embedder = ByBrightness()
    embedder.gate.clear()
    async with running(embedder, max_batch=1, max_wait_ms=0) as batcher:
        tasks = [asyncio.create_task(batcher.embed(picture(n))) for n in range(4)]
        await until(embedder.entered.is_set)
        tasks[0].cancel()  # in the inference that runs
        tasks[2].cancel()  # still queued
        embedder.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[2], asyncio.CancelledError)
    assert [results[1][0], results[3][0]] == [1, 3]  # type: ignore[index]
    assert embedder.batches == [1, 1, 1]


async def test_the_queue_is_bounded() -> None:
    embedder = ByBrightness()
    embedder.gate.clear()
    async with running(embedder, max_batch=2, max_wait_ms=0, queue_limit=5) as batcher:
        tasks = [asyncio.create_task(batcher.embed(picture(n))) for n in range(20)]
        await until(embedder.entered.is_set)
        assert batcher.waiting == 5
        embedder.gate.set()
        vectors = await asyncio.gather(*tasks)
    assert [vector[0] for vector in vectors] == list(range(20))


async def test_stop_answers_everyone_who_waits_and_who_comes_later() -> None:
    embedder = ByBrightness()
    embedder.gate.clear()
    batcher = Batcher(embedder, max_batch=1, queue_limit=3)
    await batcher.start()
    tasks = [asyncio.create_task(batcher.embed(picture(n))) for n in range(8)]
    await until(embedder.entered.is_set)
    stopping = asyncio.create_task(batcher.stop())
    async with asyncio.timeout(10):
        results = await asyncio.gather(*tasks, return_exceptions=True)
        embedder.gate.set()
        await stopping
    assert all(isinstance(result, RetryLater) for result in results)
    with pytest.raises(RetryLater, match="not running"):
        await batcher.embed(picture(1))


async def test_a_stopped_batcher_starts_again() -> None:
    batcher = Batcher(ByBrightness())
    for _ in range(2):
        await batcher.start()
        assert (await batcher.embed(picture(5)))[0] == 5
        await batcher.stop()


@pytest.mark.parametrize("pixels", [np.zeros((SIDE, SIDE + 1, 3), np.uint8), np.zeros((SIDE, SIDE, 3), np.float32)])
async def test_pixels_of_another_shape_or_type_are_refused_at_the_door(pixels: Pixels) -> None:
    async with running(ByBrightness()) as batcher:
        with pytest.raises(ValueError, match=r"pixels: must be uint8\[4, 4, 3\]"):
            await batcher.embed(pixels)


def test_the_constant_time_embedder_sleeps_the_rest_of_its_time() -> None:
    now, slept = [0.0], list[float]()

    def clock() -> float:
        now[0] += 0.01
        return now[0]

    embedder = ConstantTimeEmbedder(
        seconds_per_batch=0.05, dimension=32, input_size=32, sleep=slept.append, clock=clock
    )
    batch = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    vectors = embedder.embed(batch)
    assert slept == [pytest.approx(0.04)]
    assert vectors.shape == (3, 32)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-6)
    assert embedder.embed(batch[1:2])[0] == pytest.approx(vectors[1], abs=1e-6)
    lighter = np.clip(batch[:1].astype(int) + 5, 0, 255).astype(np.uint8)
    near, far = float(embedder.embed(lighter)[0] @ vectors[0]), float(vectors[0] @ vectors[1])
    assert near > 0.9 > far
    assert np.isfinite(embedder.embed(np.full((1, 32, 32, 3), 128, np.uint8))).all()
