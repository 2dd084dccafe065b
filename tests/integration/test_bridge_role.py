"""The bridge role relays due retries and requeued dead letters while Redis is away, and ends at SIGTERM."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from app.local.kafka import KafkaServer
from app.local.ports import HOST, free_port
from schemas.topics import Topics
from tests.integration.relay_rig import command, due_in, open_relay_rig
from tests.integration.test_requeue_executor import act, commands_of, requeue

REPOSITORY = Path(__file__).parents[2]


def start(settings: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "app", "bridge"], env={**os.environ, **settings}, cwd=REPOSITORY)


async def test_retries_and_requeues_do_not_wait_for_redis(kafka: KafkaServer, topics: Topics, tmp_path: Path) -> None:
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": topics.prefix,
        "REDIS_URL": f"redis://{HOST}:{free_port()}/0",
        "DATA_DIR": str(tmp_path),
        "WORKER_METRICS_ENABLED": "false",
    }
    async with open_relay_rig(kafka, topics) as rig:
        await rig.wait_in_tier(2, command("retried"), due_in(-1))
        await act(rig, requeue("requeued"))
        process = start(settings)
        try:
            await rig.until_passed("media-retry", [topic.name for topic in topics.retries])
            await rig.until_passed("media-requeue", [topics.deadletter_actions.name])
            assert {each.job_id for each in commands_of(await rig.jobs(2))} == {"retried", "requeued"}
            process.terminate()
            assert await asyncio.to_thread(process.wait, 20) == 0
        finally:
            process.kill()
            process.wait()
