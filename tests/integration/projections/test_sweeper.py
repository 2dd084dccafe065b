"""A command whose outcome is missing is submitted again, once a deadline; one that is still on its way is not.

The committed offsets of embed, fold and pump are the tests' own (sweep_rig.py); broker, database, projector are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from app.local.kafka import KafkaServer
from app.roles.project import beside_check
from app.telemetry.health import readiness_document
from projections.cache import AnswerCache
from projections.queries import load
from projections.sweeper import SweeperMetrics
from projections.urls import driver_url
from schemas.commands import EmbedImages
from schemas.errors import StopProcess
from schemas.headers import timestamp
from schemas.public import JobState, JobStatus
from schemas.topics import Topics
from tests.integration.projections.rig import Counted
from tests.integration.projections.samples import START, eventually
from tests.integration.projections.sweep_rig import SweepRig


@pytest.fixture
async def rig(kafka: KafkaServer, topics: Topics, pool: Any, cache: AnswerCache) -> AsyncIterator[SweepRig]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        yield SweepRig(kafka.bootstrap_servers, topics, pool, cache, producer)
    finally:
        await producer.stop()


def command(job_id: str, part: int = 1, **more: Any) -> EmbedImages:
    values: dict[str, Any] = {"pet_id": "101", "image_ids": (f"i{part}",), "job_images": 1, "metadata": {"a": [1]}}
    return EmbedImages(**values | {"job_id": job_id, "part": part, "parts": part} | more)


def state(job_id: str, status: JobState, **more: Any) -> JobStatus:
    return JobStatus(pet_id="101", job_id=job_id, status=status, at=timestamp(START), **more)


async def test_a_lost_command_is_submitted_again_once_a_deadline(rig: SweepRig) -> None:
    swept = Counted()
    lost = command("lost", enqueued_at=timestamp(START), quality_score=0.5, labels=("cat",))
    await rig.submit(lost)
    await rig.pass_all()
    sweeper = rig.sweeper(metrics=SweeperMetrics(swept=swept))
    assert await sweeper.sweep() == 1
    assert await rig.again(1) == [lost]
    for _ in range(3):  # the repeat is projected and passed by everybody, without an outcome
        await rig.project()
        await rig.pass_all()
        assert await sweeper.sweep() == 0
    await rig.age()
    assert await sweeper.sweep() == 1
    assert await rig.again(2) == [lost, lost]
    assert await rig.pool.fetchval("SELECT sweeps FROM cluster_job_commands") == 2
    assert swept.value == 2


async def test_what_has_an_end_or_is_young_is_left_alone(rig: SweepRig) -> None:
    await rig.send(*(command(name) for name in ("done", "failed", "running")))
    await rig.submit()
    await rig.send(state("done", "succeeded"), state("failed", "failed"), state("running", "processing"))
    await rig.send(command("young"))
    await rig.project()
    await rig.pass_all()
    assert await rig.sweeper().sweep() == 1
    assert [each.job_id for each in await rig.again(1)] == ["running"]


async def test_what_embed_has_not_passed_is_left_alone(rig: SweepRig) -> None:
    await rig.submit(command("passed"))
    await rig.pass_all()
    await rig.submit(command("in-work", pet_id="102"))
    assert await rig.sweeper().sweep() == 1
    await rig.project()
    await rig.pass_all()
    assert await rig.sweeper().sweep() == 1
    assert [each.job_id for each in await rig.again(2)] == ["passed", "in-work"]


async def test_a_job_with_one_part_in_work_is_left_alone(rig: SweepRig) -> None:
    await rig.submit(command("job"))
    await rig.pass_all()
    await rig.submit(command("job", part=2))
    assert await rig.sweeper().sweep() == 0
    await rig.pass_all()
    assert await rig.sweeper().sweep() == 2


@pytest.mark.parametrize("behind", ["fold", "retry"])
async def test_what_the_fold_or_the_pump_has_not_passed_is_left_alone(rig: SweepRig, behind: str) -> None:
    await rig.submit(command("job"))
    topics = {"fold": [rig.topics.pet_log], "retry": list(rig.topics.retries)}
    await rig.send_bytes(topics[behind][-1].name, "101", b"what embed made of the command")
    await rig.pass_("embed", rig.topics.jobs)
    sweeper = rig.sweeper()
    assert await sweeper.sweep() == 0
    await rig.pass_(behind, *topics[behind])
    assert await sweeper.sweep() == 1


async def test_what_the_projector_has_not_read_is_left_alone(rig: SweepRig) -> None:
    await rig.submit(command("lost"), command("done"), command("retried"))
    await rig.send(state("done", "succeeded"), command("retried", attempt=2))
    await rig.pass_all()
    sweeper = rig.sweeper()
    assert await sweeper.sweep() == 0
    await rig.project()
    assert await sweeper.sweep() == 1
    assert [each.job_id for each in await rig.again(1)] == ["lost"]


async def test_a_busy_service_settles_too(rig: SweepRig) -> None:
    await rig.submit(command("lost"))
    sweeper = rig.sweeper()
    await rig.pass_("embed", rig.topics.jobs)
    swept = 0
    for n in range(4):  # the fold, and then the projector, are always a little behind
        await rig.pass_("fold", rig.topics.pet_log)
        await rig.send_bytes(rig.topics.pet_log.name, "101", b"a fact of another job")
        await rig.project()
        await rig.send(state(f"other-{n}", "processing"))
        swept += await sweeper.sweep()
    assert swept == 1
    await rig.again(1)


async def test_only_the_last_try_of_a_part_and_the_last_run_of_a_job_are_submitted(rig: SweepRig) -> None:
    second_run: dict[str, Any] = {"run": 2, "requeue": "0123456789abcdef"}
    await rig.submit(
        command("tried"), command("tried", attempt=2), command("tried", attempt=3),
        command("requeued", attempt=2), command("requeued", **second_run),
    )  # fmt: skip
    await rig.pass_all()
    assert await rig.sweeper().sweep() == 2
    swept = {(each.job_id, each.run, each.attempt) for each in await rig.again(2)}
    assert swept == {("tried", 1, 3), ("requeued", 2, 1)}


async def test_a_command_that_stands_in_the_topic_once_more_is_in_work_again(rig: SweepRig) -> None:
    await rig.submit(command("job"))
    await rig.pass_all()
    await rig.submit(command("job"))
    assert await rig.sweeper().sweep() == 0


async def test_only_one_projector_sweeps_at_a_time(rig: SweepRig, database_url: str) -> None:
    await rig.submit(command("lost"))
    await rig.pass_all()
    other = await asyncpg.connect(driver_url(database_url))
    assert await other.fetchval(load("lock_sweep"))
    assert await rig.sweeper().sweep() == 0
    await other.execute("SELECT pg_advisory_unlock_all()")

    first, second = rig.sweeper(), rig.sweeper()
    await eventually(lambda: _any(first.sweep(), second.sweep()))
    assert (await first.sweep(), await second.sweep()) == (0, 0)
    await rig.again(1)
    assert await other.fetchval(load("lock_sweep")), "a round that is over keeps the lock"
    await other.close()


async def _any(*rounds: Any) -> bool:
    return any(await asyncio.gather(*rounds))


async def test_a_round_is_bounded_by_the_rate(rig: SweepRig) -> None:
    await rig.submit(*(command(f"job-{n}") for n in range(5)))
    await rig.pass_all()
    sweeper = rig.sweeper(rate=1, interval=2)
    assert await sweeper.sweep() == 2
    await rig.again(2)


async def test_it_runs_until_it_is_stopped_and_outlives_a_database_that_goes_away(
    rig: SweepRig, database_url: str
) -> None:
    errors = Counted()
    await rig.submit(command("lost"))
    await rig.pass_all()
    sweeper = rig.sweeper(metrics=SweeperMetrics(errors=errors), interval=0.05)
    await _allow_connections(database_url, False)
    try:
        await rig.pool.expire_connections()
        await sweeper.start()
        await eventually(lambda: _is_past(errors))
        assert sweeper.waits_for.startswith("Postgres: ")
    finally:
        await _allow_connections(database_url, True)
    await eventually(lambda: _swept(rig))
    assert sweeper.waits_for == ""
    await sweeper.stop()
    await rig.again(1)


async def test_a_sweeper_that_waits_says_so_and_makes_the_role_no_less_ready(
    rig: SweepRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.sweeper.KAFKA_SECONDS", 0.0)  # no broker answers so fast
    sweeper = rig.sweeper()
    with capture_logs() as logs:
        await sweeper.start()

        async def waits() -> bool:
            return bool(sweeper.waits_for)

        await eventually(waits)
        status, body = readiness_document({"sweeper": beside_check(sweeper.waits_for, "sweeping")})
        await sweeper.stop()
    assert (status, msgspec.json.decode(body)["checks"]["sweeper"]["detail"]) == (200, "waiting for Kafka: RetryLater")
    assert {entry["event"] for entry in logs} == {"sweeper_waits"}


async def _is_past(errors: Counted) -> bool:
    return errors.value >= 1


async def _swept(rig: SweepRig) -> bool:
    return bool(await rig.pool.fetchval("SELECT count(*) FROM cluster_job_commands WHERE sweeps = 1"))


async def _allow_connections(database_url: str, allowed: bool) -> None:
    server, _, name = database_url.rpartition("/")
    admin = await asyncpg.connect(driver_url(f"{server}/postgres"))
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")
    await admin.close()


async def test_another_schema_ends_it(rig: SweepRig) -> None:
    await rig.pool.execute("ALTER TABLE cluster_job_commands DROP COLUMN swept_at")
    with pytest.raises(StopProcess, match="run the migrations"):
        await rig.sweeper().run()
