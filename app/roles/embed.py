"""The embed role: `media.jobs` → images → vectors → `media.pet-log`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from faust.types import AppT, StreamT

from agents.delivery import Delivery
from agents.embed import EmbedAgent, EmbedMetrics, Model
from agents.embed_outputs import EmbedOutputs, EmbedTopics
from agents.embedder.batcher import Batcher
from agents.embedder.embedder import Embedder
from agents.images.fail_fast import FailFast
from agents.images.fsspec_source import check_template
from agents.images.pipeline import ImagePipeline, PipelineMetrics
from agents.images.sources import ImageSource
from agents.sealing_keys import SealingKeys
from app.faust_apps import create_app, durable_table, raw_topic
from app.image_source import open_image_source
from app.models import open_embedder
from app.roles.faust_worker import pet_keys, run_faust
from app.roles.role import Role
from app.settings import Settings
from app.telemetry import metric_defs as defs
from app.telemetry.health import Check

IMAGES_IN_FLIGHT = 512
"""Of all commands together, whole commands of at most 64: a rebalance waits for them, and the slowest machine that we
know embeds ten a second."""
IN_FLIGHT_BYTES = 512 * 2**20
"""Of image files."""
IN_FLIGHT_PIXELS = 100_000_000
"""Of full-size pictures, at up to 8 bytes each."""


def run(settings: Settings) -> None:
    """Run until SIGTERM. Raises StopProcess when the model cannot be used."""
    role = Role.prepare("embed", settings)
    embedder = open_embedder(settings)
    if settings.image_source is not None:
        check_template(settings.image_source)
    app, topics = create_app(settings, "embed"), settings.topics()
    table, outputs, metrics = durable_table(app, "embed"), _outputs(app, settings), _metrics(role)
    # The topic's oldest commands may have been deleted after its seven days, so holes are possible.
    delivery = Delivery(
        app, window=IMAGES_IN_FLIGHT, contiguous=False, open_events=role.metrics.gauge(defs.DELIVERY_OPEN)
    )

    @app.agent(raw_topic(app, topics.jobs), name="embed", concurrency=1)
    async def embed(stream: StreamT[bytes]) -> None:
        async with pet_keys(settings, delivery) as keys, _pipeline(role, embedder) as (source, pipeline):
            agent = EmbedAgent(
                delivery,
                table,
                outputs,
                Model(embedder.model_id, embedder.dimension, embedder.device),
                embed_image=pipeline.embed_image,
                list_images=source.list_images,
                keys=SealingKeys(keys),
                attempts=settings.cluster_max_attempts,
                metrics=metrics,
            )
            await agent.run(stream)

    run_faust(role, app, delivery, {"model": Check(True, f"{embedder.model_id} on {embedder.device}")})


def _outputs(app: AppT, settings: Settings) -> EmbedOutputs:
    topics = settings.topics()
    return EmbedOutputs(
        EmbedTopics(
            jobs=raw_topic(app, topics.jobs),
            retries=[raw_topic(app, tier) for tier in topics.retries],
            pet_log=raw_topic(app, topics.pet_log),
            pet_keys=raw_topic(app, topics.pet_keys),
            status=raw_topic(app, topics.jobs_status),
            deadletter=raw_topic(app, topics.deadletter),
        ),
        clock=lambda: datetime.now(UTC),
        retry_delays=settings.cluster_retry_delays_seconds,
    )


def _metrics(role: Role) -> EmbedMetrics:
    return EmbedMetrics(
        embedded=role.metrics.counter(defs.IMAGES_EMBEDDED),
        known=role.metrics.counter(defs.IMAGES_KNOWN),
        pending=role.metrics.counter(defs.IMAGES_PENDING),
        failed=lambda kind: role.metrics.counter(defs.IMAGE_FAILURES, kind=kind),
    )


@contextlib.asynccontextmanager
async def _pipeline(role: Role, embedder: Embedder) -> AsyncIterator[tuple[ImageSource, ImagePipeline]]:
    """The image source and the pipeline behind it, for as long as the block runs."""
    settings = role.settings
    batcher = Batcher(
        embedder,
        max_batch=settings.embedding_batch_size,
        batch_sizes=role.metrics.histogram(defs.BATCH_IMAGES),
        seconds=role.metrics.histogram(defs.INFERENCE_SECONDS),
    )
    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1), thread_name_prefix="decode") as threads:
        async with open_image_source(settings) as opened:
            source = FailFast(opened)
            await batcher.start()
            try:
                yield (
                    source,
                    ImagePipeline(
                        source,
                        batcher,
                        decode_executor=threads,
                        fetch_concurrency=settings.image_concurrency,
                        in_flight_bytes=max(IN_FLIGHT_BYTES, settings.image_max_bytes),
                        max_pixels=settings.image_max_pixels,
                        in_flight_pixels=max(IN_FLIGHT_PIXELS, settings.image_max_pixels),
                        metrics=PipelineMetrics(
                            fetch_seconds=role.metrics.histogram(defs.FETCH_SECONDS),
                            decode_seconds=role.metrics.histogram(defs.DECODE_SECONDS),
                            file_bytes=role.metrics.histogram(defs.FILE_BYTES),
                        ),
                    ),
                )
            finally:
                await batcher.stop()
