"""Every question about history runs on indexes, with plans for the values asked and with generic ones; and a difference
reads what changed, not the album.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from app.local.postgres import PostgresServer
from projections.cursors import INT64_MAX
from projections.queries import load
from projections.urls import driver_url
from tests.conftest import fresh_database

BIG: Final = "big"
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
LAST: Final = 2000
"""Versions of the big pet; each adds five images and moves one."""

FILL: Final = """
CREATE TEMP TABLE albums AS
    SELECT 'pet-' || n AS pet_id, 40 AS last, 1 AS a_version FROM generate_series(1, 200) AS n
    UNION ALL SELECT 'big', 2000, 5;

INSERT INTO pet_clusters (
    id, pet_id, version, cluster_count, image_count, unclustered_count, max_cluster_size, log_partition, log_offset,
    updated_at, created_at
)
SELECT gen_random_uuid(), pet_id, v, 5, v * a_version, 0, 24, 0, v, t, t
FROM albums, generate_series(1, last) AS v, LATERAL (SELECT timestamptz '2026-01-01' + v * interval '1 s' AS t) AS at;

-- Image i comes with version ceil(i / a_version); every fifth moves with the version behind.
INSERT INTO cluster_members (
    cluster_id, image_id, pet_id, cluster_number, score, distance, since_version, until_version
)
SELECT gen_random_uuid(), 'image-' || i, pet_id, i % 6 - 1, i % 97 / 100.0, 0, v, CASE WHEN i % 5 = 0 THEN v + 1 END
FROM albums, generate_series(1, last * a_version) AS i, LATERAL (SELECT (i + a_version - 1) / a_version AS v) AS come
WHERE v < last OR i % 5 > 0
UNION ALL
SELECT gen_random_uuid(), 'image-' || i, pet_id, (i + 1) % 6 - 1, i % 89 / 100.0, 0, v + 1, NULL
FROM albums, generate_series(1, last * a_version) AS i, LATERAL (SELECT (i + a_version - 1) / a_version AS v) AS come
WHERE v < last AND i % 5 = 0;

-- Of each pet, one of five clusters changes with a version. A hero is the best so far: a new one is ever rarer.
INSERT INTO cluster_summaries (
    pet_id, cluster_number, since_version, until_version, label, member_count, tightness
)
SELECT pet_id, v % 5, v, CASE WHEN v + 5 <= last THEN v + 5 END, 'Cluster', v, 0.9
FROM albums, generate_series(1, last) AS v;

INSERT INTO cluster_heroes (
    cluster_id, image_id, pet_id, cluster_number, rank, score, since_version, until_version, selected_at
)
SELECT gen_random_uuid(), 'image-' || v, pet_id, c, 1, 0.5, v, CASE WHEN c + 10 * 2 ^ k <= last THEN c + 10 * 2 ^ k END,
       now()
FROM albums, generate_series(0, 4) AS c, generate_series(0, 9) AS k, LATERAL (SELECT c + 5 * 2 ^ k AS v) AS at
WHERE v <= last;

INSERT INTO cluster_jobs (id, pet_id, job_id, status, attempts, progress, enqueued_at)
SELECT gen_random_uuid(), 'pet-' || n % 200, 'job-' || n,
       (ARRAY['succeeded', 'succeeded', 'succeeded', 'failed', 'queued', 'processing'])[1 + n % 6]::cluster_job_status,
       1, 1, timestamptz '2026-01-01' + n * interval '1 s'
FROM generate_series(1, 20000) AS n;

INSERT INTO pet_decisions (
    pet_id, decision_id, kind, arguments, expected_version, who, why, accepted, code, reason, version, cluster, images,
    log_partition, log_offset, decided_at
)
SELECT pet_id, 'd-' || v, 'rename', '{"cluster": 2}', v - 1, 'ann', 'why', true, '', '', v, 2, 0, 0, v, now()
FROM albums, generate_series(1, least(last, 500)) AS v;

ANALYZE;
"""

MEMBER: Final = (BIG, 2, math.inf, "", 51)
STATEMENTS: Final[dict[str, tuple[Any, ...]]] = {
    "list_versions": (BIG, INT64_MAX, 51),
    "read_version": (BIG, LAST // 2),
    "read_last_version": (BIG,),
    "read_version_as_of": (BIG, START + timedelta(seconds=LAST - 10)),
    "read_answer_at": (BIG, LAST // 2),
    "read_latest_answer": (BIG,),
    "read_cluster_row": (BIG, 2, LAST // 2),
    "list_members_now": MEMBER,
    "list_members_at": (*MEMBER, LAST // 2),
    "list_places_of_image": (BIG, "image-500", INT64_MAX, 51),
    "list_near_duplicates": (BIG, "image-500", LAST // 2, 100),
    "read_why": (BIG, "image-500", LAST // 2),
    "list_turns_of_cluster": (BIG, 2, 500),
    "list_relations_of_clusters": (BIG, 10_000),
    "list_clusters_now": (BIG, [1, 2, 9]),
    "list_images_now": (BIG, ["image-500", "image-501"]),
    "list_decisions": (BIG, INT64_MAX, 51, None, None, 2, None),
    "read_decisions": ([BIG, BIG], ["d-7", "d-8"]),
    "read_kept_from": (BIG,),
    "compare_images": (BIG, LAST // 2, LAST // 2 + 1, "", 51),
    "compare_clusters": (BIG, LAST // 2, LAST // 2 + 1, -1, 51),
    "list_jobs_by_status": ("failed", START + timedelta(seconds=9000), UUID(int=0), 51),
    "list_jobs_of_pet": ("pet-7", None, None, 51),
}
TABLES: Final = {
    *("pet_clusters", "cluster_members", "cluster_heroes", "cluster_summaries", "cluster_jobs", "pet_decisions"),
}


@pytest.fixture(scope="module")
def filled_url(postgres: PostgresServer, migrated: str) -> Iterator[str]:
    """A database of 200 small pets and a big one, for all tests of this module."""
    with fresh_database(postgres, migrated) as url:
        yield url


@pytest.fixture
async def connection(filled_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(driver_url(filled_url))
    await opened.execute("SET jit = off")
    if not await opened.fetchval("SELECT count(*) FROM pet_clusters"):
        await opened.execute(FILL)
    yield opened
    await opened.close()


async def explained(connection: Any, statement: str, arguments: tuple[Any, ...]) -> list[dict[str, Any]]:
    """The nodes of the plan that was run."""
    text = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {load(statement)}", *arguments)
    nodes, left = [], [json.loads(text)[0]["Plan"]]
    while left:
        node = left.pop()
        nodes.append(node)
        left += node.get("Plans", [])
    return nodes


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("statement", STATEMENTS)
async def test_no_table_is_read_from_end_to_end(connection: Any, statement: str, plans: str) -> None:
    await connection.execute(f"SET plan_cache_mode = {plans}")
    nodes = await explained(connection, statement, STATEMENTS[statement])
    read = [(node["Node Type"], node["Relation Name"]) for node in nodes if node.get("Relation Name") in TABLES]
    assert read
    assert [table for kind, table in read if kind == "Seq Scan"] == []


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize("statement", ["compare_images", "compare_clusters"])
async def test_a_difference_reads_what_changed_not_the_album(connection: Any, statement: str, plans: str) -> None:
    """Five images came and one moved with each version, early and late in an album of 10,000."""
    await connection.execute(f"SET plan_cache_mode = {plans}")
    for last in (LAST // 10, LAST - 1):
        nodes = await explained(connection, statement, (BIG, last - 1, last, "" if "images" in statement else -1, 51))
        rows = sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes if node.get("Relation Name") in TABLES)
        dropped = sum(node.get("Rows Removed by Filter", 0) * node["Actual Loops"] for node in nodes)
        assert (rows > 0, rows + dropped < 60) == (True, True), (rows, dropped)


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
async def test_a_page_of_members_reads_a_page_of_rows(connection: Any, plans: str) -> None:
    """The first page and one from the middle of the cluster as it is now."""
    await connection.execute(f"SET plan_cache_mode = {plans}")
    for score, image_id in ((math.inf, ""), (0.4, "image-5")):
        nodes = await explained(connection, "list_members_now", (BIG, 2, score, image_id, 51))
        rows = sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                   for node in nodes if node.get("Relation Name") == "cluster_members")  # fmt: skip
        assert 51 <= rows < 100


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
async def test_a_late_page_of_jobs_reads_a_page_of_rows(connection: Any, plans: str) -> None:
    await connection.execute(f"SET plan_cache_mode = {plans}")
    nodes = await explained(connection, "list_jobs_by_status", STATEMENTS["list_jobs_by_status"])
    assert max(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in nodes) == 51


async def test_the_version_of_a_time_long_ago_is_found_fast_enough(connection: Any) -> None:
    """It is looked for from the last version backwards, since clocks may disagree: 2,000 entries, few pages."""
    nodes = await explained(connection, "read_version_as_of", (BIG, START + timedelta(seconds=3)))
    assert nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"] < 200


@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
async def test_a_component_that_moves_is_found_without_its_cluster(connection: Any, plans: str) -> None:
    """Three photos each of two components, in a cluster of 6,000."""
    pet = f"grouped-{plans}"  # an index still counts the rows of the one that was rolled back
    changes = connection.transaction()
    await changes.start()
    try:
        await connection.execute(
            """
            INSERT INTO cluster_members (
                cluster_id, image_id, pet_id, cluster_number, score, distance, since_version, metadata
            )
            SELECT gen_random_uuid(), 'image-' || i, $1, 1, 0.9, 0.1, 1, jsonb_build_object('component', i / 3)
            FROM generate_series(1, 6000) AS i
            """,
            pet,
        )
        await connection.execute("ANALYZE cluster_members")
        await connection.execute(f"SET LOCAL plan_cache_mode = {plans}")
        moved = ([7, 1900], [1, 1], [2, 3], ["image-21"])
        nodes = await explained(connection, "move_components", (UUID(int=1), pet, 2, *moved))
        (read,) = (node for node in nodes if "Index Name" in node)
        assert read["Index Name"] == "cluster_members_component_now"
        assert 5 <= read["Actual Rows"] * read["Actual Loops"] <= 6, "a later step places one of them"
        ended = "SELECT count(*) FROM cluster_members WHERE pet_id = $1 AND until_version = 2"
        assert await connection.fetchval(ended, pet) == 5
    finally:
        await changes.rollback()
