"""Everything that stands in topics and tables after a run, when all roles have stopped. Read by run.py for audit.py."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg
from aiokafka import ConsumerRecord

from schemas.headers import header
from tests.e2e.kafka_log import read_log, read_topic
from tests.faults.ledger import JobKey
from tests.faults.supervised import SupervisedService

PETS_CHANGELOG = "media-fold-pets-changelog"


@dataclass
class Evidence:
    """Topics, in order, and what Postgres has: `job_rows` by job, `version_rows` and `members` by pet, `letter_rows`
    states by id, `swept` (pet, job, how often) of commands that the sweeper submitted again.
    """

    commands: list[ConsumerRecord]
    retries: list[ConsumerRecord]
    log: list[ConsumerRecord]
    versions: list[ConsumerRecord]
    public: list[ConsumerRecord]
    statuses: list[ConsumerRecord]
    letters: list[ConsumerRecord]
    actions: list[ConsumerRecord]
    changelog: list[ConsumerRecord]
    job_rows: dict[JobKey, dict[str, Any]]
    version_rows: dict[str, list[tuple[int, int]]]
    members: dict[str, list[str]]
    letter_rows: dict[str, str]
    swept: list[tuple[str, str, int]]

    def topics(self) -> dict[str, list[ConsumerRecord]]:
        """The topics whose messages have ids, by name."""
        return {
            "commands": self.commands,
            "facts": self.log,
            "versions": self.versions,
            "clusters.updated": self.public,
            "statuses": self.statuses,
            "dead letters": self.letters,
            "dead-letter actions": self.actions,
        }


async def collect(service: SupervisedService) -> Evidence:
    """Read all of it."""

    async def read(name: str) -> list[ConsumerRecord]:
        return await read_topic(service.bootstrap_servers, name)

    topics = service.topics
    retries = [record for tier in topics.retries for record in await read(tier.name)]
    connection = await asyncpg.connect(service.database_url)
    try:
        jobs = await connection.fetch("SELECT *, status::text AS state FROM cluster_jobs")
        versions = await connection.fetch(
            "SELECT pet_id, version, image_count FROM pet_clusters ORDER BY pet_id, version"
        )
        members = await connection.fetch("SELECT pet_id, image_id FROM cluster_members WHERE until_version IS NULL")
        letters = await connection.fetch("SELECT id::text, state FROM dead_letters")
        swept = await connection.fetch(
            "SELECT j.pet_id, j.job_id, c.sweeps FROM cluster_job_commands AS c"
            " JOIN cluster_jobs AS j ON j.id = c.cluster_job_id WHERE c.sweeps > 0"
        )
    finally:
        await connection.close()
    return Evidence(
        commands=await read(topics.jobs.name),
        retries=retries,
        log=await read_log(service.bootstrap_servers, topics),
        versions=await read(topics.pet_versions.name),
        public=await read(topics.clusters_updated.name),
        statuses=await read(topics.jobs_status.name),
        letters=await read(topics.deadletter.name),
        actions=await read(topics.deadletter_actions.name),
        changelog=await read(topics.prefix + PETS_CHANGELOG),
        job_rows={(row["pet_id"], row["job_id"]): dict(row) for row in jobs},
        version_rows=_grouped((row["pet_id"], (row["version"], row["image_count"])) for row in versions),
        members=_grouped((row["pet_id"], row["image_id"]) for row in members),
        letter_rows={row["id"]: row["state"] for row in letters},
        swept=[tuple(row) for row in swept],
    )


def ce_id(record: ConsumerRecord) -> str:
    """The message's id."""
    return header(record.headers, "ce_id")


def repeats(records: Iterable[ConsumerRecord]) -> int:
    """How many messages repeat an earlier one's id."""
    counts = Counter(map(ce_id, records))
    return sum(counts.values()) - len(counts)


def decoded(record: ConsumerRecord) -> dict[str, Any]:
    """A JSON message."""
    value: dict[str, Any] = json.loads(record.value)
    return value


def _grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
