"""A deployment whose embed, fold and pump are played by committing their groups' offsets. Used by test_sweeper."""

from __future__ import annotations

from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from projections.frontier import Groups
from projections.sweeper import CE_SOURCE, Sweeper, SweeperMetrics
from schemas.commands import EmbedImages
from schemas.headers import header
from schemas.topics import Topic
from tests.conftest import TEST_PARTITIONS
from tests.integration.bridge_rig import ce_ids, end_of, read_at_least
from tests.integration.projections.rig import Rig
from tests.integration.projections.samples import eventually

DEADLINE: Final = 3600.0


class SweepRig(Rig):
    """Beside the projector's topics: the groups that a command passes through."""

    def sweeper(self, *, metrics: SweeperMetrics | None = None, rate: int = 100, interval: float = 60) -> Sweeper:
        prefix = self.topics.prefix

        async def fold() -> str:
            return f"{prefix}fold"

        return Sweeper(
            pool=self.pool,
            producer=self.producer,
            bootstrap_servers=self.bootstrap_servers,
            topics=self.topics,
            groups=Groups(embed=f"{prefix}embed", fold=fold, retry=f"{prefix}retry"),
            deadline_s=DEADLINE,
            interval_s=interval,
            rate_per_s=rate,
            metrics=metrics,
        )

    async def pass_(self, group: str, *topics: Topic) -> None:
        """Commit the topics' ends for a group."""
        asked = [TopicPartition(topic.name, number) for topic in topics for number in range(TEST_PARTITIONS)]
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers, group_id=f"{self.topics.prefix}{group}", enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign(asked)
            await consumer.commit(await consumer.end_offsets(asked))
        finally:
            await consumer.stop()

    async def pass_all(self) -> None:
        """Embed, the fold and the pump have done all there is."""
        await self.pass_("embed", self.topics.jobs)
        await self.pass_("fold", self.topics.pet_log)
        await self.pass_("retry", *self.topics.retries)

    async def submit(self, *commands: EmbedImages) -> None:
        """Commands that were projected long ago, as one projector's run leaves them."""
        await self.send(*commands)
        await self.project()
        await self.age()

    async def project(self) -> None:
        """Bring the rows to the topics' ends."""
        async with self.running():
            await eventually(self._is_projected)

    async def _is_projected(self) -> bool:
        names = [topic.name for topic in (self.topics.jobs, self.topics.jobs_status)]
        asked = [TopicPartition(name, number) for name in names for number in range(TEST_PARTITIONS)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap_servers)
        await consumer.start()
        try:
            ends = await consumer.end_offsets(asked)
        finally:
            await consumer.stop()
        rows = await self.pool.fetch("SELECT topic, partition, next_offset FROM projection_positions")
        stored = {TopicPartition(row["topic"], row["partition"]): row["next_offset"] for row in rows}
        return all(stored.get(tp, -1) >= end for tp, end in ends.items())

    async def age(self) -> None:
        """Let one deadline pass for all that was recorded or swept so far."""
        await self.pool.execute(
            "UPDATE cluster_job_commands SET recorded_at = recorded_at - make_interval(secs => $1),"
            " swept_at = swept_at - make_interval(secs => $1)",
            DEADLINE + 1,
        )

    async def again(self, count: int) -> list[EmbedImages]:
        """What the sweeper has submitted, `count` commands in all, in their order."""
        jobs = self.topics.jobs.name
        records = await read_at_least(self.bootstrap_servers, jobs, await end_of(self.bootstrap_servers, jobs))
        swept = [record for record in records if header(record.headers, "ce_source") == CE_SOURCE]
        swept.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
        commands = [msgspec.json.decode(record.value, type=EmbedImages) for record in swept]
        assert len(commands) == count
        assert ce_ids(swept) == [each.id for each in commands]
        assert [record.key for record in swept] == [each.pet_id.encode() for each in commands]
        return commands
