"""Forms batches of images across jobs and pets. Called by `agents.images.pipeline`; one for each embed process.

    embed() ─┐
    embed() ─┼─▶ queue ─▶ _loop: up to max_batch, or max_wait after the first ─▶ inference thread ─▶ each caller's row
    embed() ─┘   (at most queue_limit callers are let in)

Inference has one thread of its own: decoding runs beside it, and no model needs to be safe for several threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import structlog

from agents.embedder.embedder import Embedder, Pixels, Vectors
from schemas.errors import DeadLetter, RetryLater, ServiceError, StopProcess
from schemas.telemetry import Histogram, Unmeasured

log = structlog.get_logger(__name__)


class BadVector(DeadLetter):
    """The model has no usable vector for this image."""


@dataclass(frozen=True, eq=False)
class _Request:
    pixels: Pixels
    answer: asyncio.Future[Vectors]


class Batcher:
    """`start`, then `embed` from any number of tasks, then `stop`, all on one event loop.

    `max_wait_ms`: how long the first image of a batch waits for others. `batch_sizes`, `seconds`: histograms of the
    images and the time of each inference.
    """

    def __init__(
        self,
        embedder: Embedder,
        *,
        max_batch: int = 16,
        max_wait_ms: float = 5.0,
        queue_limit: int = 256,
        batch_sizes: Histogram | None = None,
        seconds: Histogram | None = None,
    ) -> None:
        if max_batch < 1 or queue_limit < 1:
            raise ValueError(f"max_batch and queue_limit: must be at least 1, got {max_batch} and {queue_limit}")
        self.embedder = embedder
        self._max_batch = max_batch
        self._max_wait = max_wait_ms / 1000
        self._batch_sizes = batch_sizes or Unmeasured()
        self._seconds = seconds or Unmeasured()
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()
        self._places = asyncio.Semaphore(queue_limit)
        self._unanswered: set[asyncio.Future[Vectors]] = set()
        self._thread: ThreadPoolExecutor | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Images that are queued or in the inference that runs."""
        return len(self._unanswered)

    async def start(self) -> None:
        """Begin to take images."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._task = asyncio.create_task(self._loop(), name="batcher")

    async def stop(self) -> None:
        """End after the inference that runs; who still waits gets RetryLater."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._answer_all(RetryLater("the embedder is stopping"))
        if self._thread is not None:
            await asyncio.to_thread(self._thread.shutdown)
            self._thread = None

    async def embed(self, pixels: Pixels) -> Vectors:
        """The unit vector, float32[dimension], of RGB uint8[input_size, input_size, 3].

        Waits while the queue is full. Raises BadVector when the model has none for this image, RetryLater when the
        batcher stops or this image's inference failed alone, StopProcess when the model or its device fails.
        """
        side = self.embedder.input_size
        if pixels.shape != (side, side, 3) or pixels.dtype != np.uint8:
            raise ValueError(f"pixels: must be uint8[{side}, {side}, 3], got {pixels.dtype}{list(pixels.shape)}")
        async with self._places:
            if self._task is None or self._task.done():
                raise RetryLater("the embedder is not running")
            answer: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
            self._unanswered.add(answer)
            self._queue.put_nowait(_Request(pixels, answer))
            try:
                return await answer
            finally:
                self._unanswered.discard(answer)

    async def _loop(self) -> None:
        try:
            while True:
                batch = await self._next_batch()
                wanted = [request for request in batch if not request.answer.done()]
                if wanted:
                    await self._answer(wanted)
        except Exception as error:  # a fault of this file; without an answer the callers would wait for ever
            log.error("batcher_failed", exc_info=True)
            self._answer_all(StopProcess(f"the batcher failed: {error}"))

    async def _answer(self, batch: Sequence[_Request]) -> None:
        started = time.perf_counter()
        pixels = [request.pixels for request in batch]
        outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, self._infer, pixels)
        self._seconds.observe(time.perf_counter() - started)
        self._batch_sizes.observe(len(batch))
        for request, outcome in zip(batch, outcomes, strict=True):
            if request.answer.done():  # its caller was cancelled meanwhile
                continue
            if isinstance(outcome, ServiceError):
                request.answer.set_exception(outcome)
            else:
                request.answer.set_result(outcome)

    def _answer_all(self, error: ServiceError) -> None:
        for answer in self._unanswered:
            if not answer.done():
                answer.set_exception(error)

    async def _next_batch(self) -> list[_Request]:
        batch = [await self._queue.get()]
        try:
            async with asyncio.timeout(self._max_wait):
                while len(batch) < self._max_batch:
                    batch.append(self._queue.get_nowait() if not self._queue.empty() else await self._queue.get())
        except TimeoutError:
            pass  # the batch is as full as it gets in time
        return batch

    def _infer(self, pixels: Sequence[Pixels]) -> list[Vectors | ServiceError]:
        """One outcome an image; runs in the inference thread."""
        try:
            return _rows(self.embedder.embed(np.stack(pixels)))
        except Exception as error:  # whatever a runtime raises, the callers must hear of it
            log.error("inference_failed", images=len(pixels), model=self.embedder.model_id, exc_info=True)
            if len(pixels) == 1:
                return [_stop(error)]
        outcomes = [self._infer_alone(one) for one in pixels]
        failures = [outcome for outcome in outcomes if isinstance(outcome, RetryLater)]
        # Pixels are of one shape and type, so a model that fails on all of them is broken, not the images.
        return [_stop(failures[0]) for _ in outcomes] if len(failures) == len(outcomes) else outcomes

    def _infer_alone(self, pixels: Pixels) -> Vectors | ServiceError:
        try:
            return _rows(self.embedder.embed(pixels[None]))[0]
        except Exception as error:  # as above
            return RetryLater(f"inference failed for this image alone: {error}")


def _rows(vectors: Vectors) -> list[Vectors | ServiceError]:
    usable = [bool(np.isfinite(row).all()) for row in vectors]
    return [
        row if good else BadVector("the model's vector is zero or not finite")
        for row, good in zip(vectors, usable, strict=True)
    ]


def _stop(error: Exception) -> StopProcess:
    return StopProcess(f"inference fails: {error}")
