"""Tables and columns that the documents name: every release keeps them; more may stand beside them."""

from __future__ import annotations

from typing import Any, Final

import pytest

TABLES: Final = {
    "cluster_jobs": {
        "id": "uuid",
        "pet_id": "text",
        "status": "cluster_job_status",
        "attempts": "integer",
        "last_error": "text",
        "enqueued_at": "timestamp with time zone",
        "started_at": "timestamp with time zone",
        "completed_at": "timestamp with time zone",
    },
    "pet_clusters": {
        "id": "uuid",
        "pet_id": "text",
        "version": "bigint",
        "cluster_count": "integer",
        "metrics": "jsonb",
        "created_at": "timestamp with time zone",
    },
    "cluster_members": {
        "cluster_id": "uuid",
        "image_id": "text",
        "distance": "double precision",
        "metadata": "jsonb",
    },
    "cluster_heroes": {
        "cluster_id": "uuid",
        "image_id": "text",
        "score": "double precision",
        "selected_at": "timestamp with time zone",
    },
    "cluster_snapshots": {
        "pet_id": "text",
        "version": "bigint",
        "codec": "text",
        "payload": "bytea",
        "created_at": "timestamp with time zone",
    },
}
KEYS: Final = {
    "cluster_jobs": ["id"],
    "pet_clusters": ["id"],
    "cluster_members": ["cluster_id", "image_id"],
    "cluster_heroes": ["cluster_id", "image_id"],
    "cluster_snapshots": ["pet_id", "version"],
}
LEADING: Final = [
    ("cluster_jobs", ("pet_id",), ""),
    ("cluster_jobs", ("pet_id",), "(status <> 'succeeded'::cluster_job_status)"),
    ("pet_clusters", ("pet_id", "version"), ""),
    ("pet_clusters", ("pet_id", "created_at"), ""),
    ("cluster_members", ("image_id",), ""),
]
"""Indexes: their table, the columns that they begin with, and what they are restricted to."""
INDEXES: Final = """
SELECT array_agg(a.attname::text ORDER BY k.place) AS columns, coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS rows,
       i.indisprimary AS is_primary
FROM pg_index AS i
CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, place)
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = $1::text::regclass AND i.indisvalid
GROUP BY i.indexrelid, i.indpred, i.indrelid, i.indisprimary
"""


@pytest.mark.parametrize("table", TABLES)
async def test_the_columns_are_there_with_their_types(pool: Any, table: str) -> None:
    rows = await pool.fetch(
        "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
        " WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped",
        table,
    )
    found = {row["attname"]: row["type"] for row in rows}
    assert {name: found.get(name) for name in TABLES[table]} == TABLES[table]
    (key,) = [row["columns"] for row in await pool.fetch(INDEXES, table) if row["is_primary"]]
    assert key == KEYS[table]


@pytest.mark.parametrize(("table", "columns", "rows"), LEADING)
async def test_the_indexes_begin_with_their_columns(pool: Any, table: str, columns: tuple[str, ...], rows: str) -> None:
    indexes = await pool.fetch(INDEXES, table)
    assert any(tuple(index["columns"][: len(columns)]) == columns and index["rows"] == rows for index in indexes)
