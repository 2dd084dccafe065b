"""From an image id to everything that is recorded about the image. Called by the embed agent, one for each process.

place and bytes reserved ─ fetch ─ decode thread: hash, decode, measure ─ both given back ─ batcher ─ EmbeddedImage
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from agents.embedder.batcher import BadVector, Batcher
from agents.images.byte_budget import ByteBudget
from agents.images.decode import DecodedImage, decode
from agents.images.errors import ImageError
from agents.images.phash import phash
from agents.images.pixel_budget import PixelBudget
from agents.images.quality import measure
from agents.images.sources import ImageSource
from schemas.facts import EmbeddedImage, Quality
from schemas.telemetry import Histogram, Unmeasured
from tables.vectors import quantize

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class PipelineMetrics:
    """Seconds of a fetch, with its wait for the source; seconds of decoding and measuring; bytes of a file."""

    fetch_seconds: Histogram = field(default_factory=Unmeasured)
    decode_seconds: Histogram = field(default_factory=Unmeasured)
    file_bytes: Histogram = field(default_factory=Unmeasured)


@dataclass(frozen=True, eq=False)
class _Measured:
    decoded: DecodedImage
    quality: Quality
    phash: int
    sha256: bytes
    size_bytes: int


class ImagePipeline:
    """Embeds images for all jobs of a process within one bound on fetches and memory.

    `decode_executor`: threads that decode. `fetch_concurrency`: images fetched or decoded at a time. `in_flight_bytes`:
    bound of the files held, at least the source's `max_bytes`; a fetch reserves the most it may need and keeps what it
    did. `in_flight_pixels`: bound of the full-size pictures in memory, at up to 8 bytes a pixel (RGBA, RGB, grey), at
    least `max_pixels`.
    """

    def __init__(
        self,
        source: ImageSource,
        batcher: Batcher,
        *,
        decode_executor: Executor,
        fetch_concurrency: int = 32,
        in_flight_bytes: int = 512 * 2**20,
        max_pixels: int = 64_000_000,
        in_flight_pixels: int = 100_000_000,
        metrics: PipelineMetrics | None = None,
    ) -> None:
        if fetch_concurrency < 1:
            raise ValueError(f"fetch_concurrency: must be at least 1, got {fetch_concurrency}")
        if in_flight_bytes < source.max_bytes:
            raise ValueError(f"in_flight_bytes: must hold one image of {source.max_bytes}, got {in_flight_bytes}")
        if in_flight_pixels < max_pixels:
            raise ValueError(f"in_flight_pixels: must hold one image of {max_pixels}, got {in_flight_pixels}")
        self._source = source
        self._batcher = batcher
        self._executor = decode_executor
        self._places = asyncio.Semaphore(fetch_concurrency)
        self._budget = ByteBudget(in_flight_bytes)
        self._max_pixels = max_pixels
        self._pixels = PixelBudget(in_flight_pixels)
        self._metrics = metrics or PipelineMetrics()

    async def embed_image(self, image_id: str) -> EmbeddedImage:
        """Fetch, decode, measure and embed one image.

        Raises ImageError when it can never be embedded, RetryLater when another try may help, StopProcess when the
        model or its device fails.
        """
        async with self._fetched(image_id) as data:
            started = time.perf_counter()
            measured = await asyncio.get_running_loop().run_in_executor(self._executor, self._measure, data)
            self._metrics.decode_seconds.observe(time.perf_counter() - started)
            del data
        try:
            vector = await self._batcher.embed(measured.decoded.pixels)
        except BadVector as error:
            raise ImageError("bad_vector", str(error)) from error
        return EmbeddedImage(
            image_id=image_id,
            vector=quantize(vector),
            quality=measured.quality,
            phash=measured.phash,
            width=measured.decoded.width,
            height=measured.decoded.height,
            taken_at=measured.decoded.taken_at,
            sha256=measured.sha256,
            size_bytes=measured.size_bytes,
        )

    @asynccontextmanager
    async def _fetched(self, image_id: str) -> AsyncIterator[bytes]:
        """The file's bytes, within the bounds until the block ends."""
        async with self._places, self._budget.reserve(self._source.max_bytes) as reservation:
            started = time.perf_counter()
            data = await self._source.fetch(image_id)
            self._metrics.fetch_seconds.observe(time.perf_counter() - started)
            self._metrics.file_bytes.observe(len(data))
            reservation.shrink(len(data))
            yield data

    def _measure(self, data: bytes) -> _Measured:
        size = self._batcher.embedder.input_size
        decoded = decode(data, size=size, max_pixels=self._max_pixels, budget=self._pixels)
        return _Measured(
            decoded=decoded,
            quality=measure(decoded.gray, width=decoded.width, height=decoded.height, evenness=decoded.evenness),
            phash=phash(decoded.gray),
            sha256=hashlib.sha256(data).digest(),
            size_bytes=len(data),
        )
