"""The fold role: `media.pet-log` → pet table, versions, public messages."""

from __future__ import annotations

import gc
from typing import Any, Final

from faust.types import StreamT

from agents.abort import abort_process
from agents.delivery import Delivery
from agents.fold import Folder, FoldMetrics
from app.faust_apps import create_app, durable_table, raw_topic
from app.roles.faust_worker import pet_keys, run_faust
from app.roles.fold_generation import GenerationWatch, check_turn, wait_for_turn
from app.roles.role import Role
from app.settings import Settings
from app.telemetry import metric_defs as defs
from tables.outputs import Channel

GC_THRESHOLDS: Final = (50_000, 20, 1_000)
"""Decoded pets are many objects without cycles; to look for some as often as Python does took a tenth of the time."""


def run(settings: Settings) -> None:
    """Run until SIGTERM."""
    gc.set_threshold(*GC_THRESHOLDS)
    role = Role.prepare("fold", settings)
    generation = wait_for_turn(role)
    app, topics = create_app(settings, "fold", generation), settings.topics()
    table = durable_table(app, "fold")
    outputs: dict[Channel, Any] = {
        "versions": raw_topic(app, topics.pet_versions),
        "decisions": raw_topic(app, topics.pet_versions),
        "updated": raw_topic(app, topics.clusters_updated),
        "keys": raw_topic(app, topics.pet_keys),
        "status": raw_topic(app, topics.jobs_status),
        "deadletter": raw_topic(app, topics.deadletter),
    }
    metrics = FoldMetrics(
        events=role.metrics.counter(defs.EVENTS_FOLDED),
        repeated=role.metrics.counter(defs.EVENTS_REPEATED),
        versions=role.metrics.counter(defs.VERSIONS),
        seconds=role.metrics.histogram(defs.FOLD_SECONDS),
        succeeded=role.metrics.counter(defs.JOBS_PROCESSED, result="success"),
        failed=role.metrics.counter(defs.JOBS_PROCESSED, result="dead_letter"),
        job_seconds=role.metrics.histogram(defs.JOB_SECONDS),
    )
    delivery = Delivery(app, open_events=role.metrics.gauge(defs.DELIVERY_OPEN))

    @app.agent(raw_topic(app, topics.pet_log), name="fold", concurrency=1)
    async def fold(stream: StreamT[bytes]) -> None:
        async with pet_keys(settings, delivery) as keys:
            await Folder(delivery, table, outputs, metrics, keys, lambda: check_turn(settings, generation)).run(stream)

    watch = GenerationWatch(settings, generation)
    try:
        run_faust(role, app, delivery, services=[watch])
    finally:
        if watch.over:  # all is committed; the exit code makes every supervisor start another worker
            abort_process(f"generation {generation} of the fold hands over: the next start folds the one that is live")
