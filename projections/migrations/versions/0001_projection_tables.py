"""The projection's tables: jobs, versions, members, heroes, summaries, snapshots, positions.

Revision: 0001
Follows: nothing

Ids are text as callers gave them, sorted by byte (collation C), so that Postgres and Python order them alike.
Rows of members, heroes and summaries hold since a version and until (exclusive) another; NULL means "holds now".
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JOB_STATUS = pg.ENUM("queued", "processing", "succeeded", "failed", name="cluster_job_status", create_type=False)


def _id(name: str, **options: object) -> sa.Column:
    return sa.Column(name, sa.Text(collation="C"), nullable=False, **options)


def _time(name: str, **options: object) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), **options)


def _count(name: str) -> sa.Column:
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def _text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _json(name: str, default: str) -> sa.Column:
    return sa.Column(name, pg.JSONB, nullable=False, server_default=default)


def _held() -> tuple[sa.Column, sa.Column]:
    return (
        sa.Column("since_version", sa.BigInteger, nullable=False),
        sa.Column("until_version", sa.BigInteger),
    )


def upgrade() -> None:
    JOB_STATUS.create(op.get_bind())
    _create_jobs()
    _create_versions()
    _create_members()
    _create_heroes()
    _create_summaries()
    _create_bookkeeping()


def _create_jobs() -> None:
    op.create_table(
        "cluster_jobs",
        sa.Column("id", sa.Uuid, primary_key=True),
        _id("pet_id"),
        _id("job_id"),
        sa.Column("status", JOB_STATUS, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("progress", sa.BigInteger, nullable=False),
        sa.Column("last_error", sa.Text),
        _time("enqueued_at", nullable=False),
        _time("started_at"),
        _time("completed_at"),
        _count("image_count"),
        _count("placed"),
        _count("known"),
        _count("failed"),
        _json("failed_images", "[]"),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("outcome_progress", sa.BigInteger, nullable=False, server_default="0"),
        _text("reason"),
        _text("source"),
    )
    op.execute("CREATE INDEX cluster_jobs_of_pet ON cluster_jobs (pet_id, enqueued_at DESC, id DESC)")
    op.execute("CREATE INDEX cluster_jobs_unfinished ON cluster_jobs (pet_id) WHERE status != 'succeeded'")
    op.execute("CREATE INDEX cluster_jobs_by_job ON cluster_jobs (job_id)")
    op.create_table(
        "cluster_job_commands",
        sa.Column("cluster_job_id", sa.Uuid, sa.ForeignKey("cluster_jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("parts", sa.Integer, nullable=False),
        _count("image_count"),
        _json("command", "{}"),
        sa.Column("log_partition", sa.Integer),
        sa.Column("log_offset", sa.BigInteger),
        _time("enqueued_at", nullable=False),
    )


def _create_versions() -> None:
    op.create_table(
        "pet_clusters",
        sa.Column("id", sa.Uuid, primary_key=True),
        _id("pet_id"),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("cluster_count", sa.Integer, nullable=False),
        sa.Column("image_count", sa.Integer, nullable=False),
        sa.Column("unclustered_count", sa.Integer, nullable=False),
        _json("metrics", "{}"),
        _text("job_id"),
        _text("model"),
        _text("policy_id"),
        sa.Column("max_cluster_size", sa.Integer, nullable=False),
        sa.Column("log_partition", sa.Integer, nullable=False),
        sa.Column("log_offset", sa.BigInteger, nullable=False),
        _time("updated_at", nullable=False),
        _time("created_at", nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("pet_id", "version", name="pet_clusters_pet_version"),
    )
    op.execute("CREATE INDEX pet_clusters_by_time ON pet_clusters (pet_id, created_at DESC)")
    op.create_table(
        "cluster_snapshots",
        _id("pet_id", primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("codec", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        _time("created_at", nullable=False, server_default=sa.func.now()),
    )


def _create_members() -> None:
    op.create_table(
        "cluster_members",
        sa.Column("cluster_id", sa.Uuid, sa.ForeignKey("pet_clusters.id"), primary_key=True),
        _id("image_id", primary_key=True),
        _id("pet_id"),
        sa.Column("cluster_number", sa.Integer, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        sa.Column("distance", sa.Double, nullable=False),
        *_held(),
        _json("metadata", "{}"),
    )
    op.execute("CREATE INDEX cluster_members_by_image ON cluster_members (image_id)")
    op.execute("CREATE INDEX cluster_members_history ON cluster_members (pet_id, cluster_number, since_version)")
    op.execute(
        "CREATE INDEX cluster_members_now ON cluster_members (pet_id, cluster_number, score DESC, image_id)"
        " WHERE until_version IS NULL"
    )
    op.execute(
        "CREATE UNIQUE INDEX cluster_members_image_now ON cluster_members (pet_id, image_id)"
        " WHERE until_version IS NULL"
    )
    op.execute(
        "CREATE INDEX cluster_members_unclustered_now ON cluster_members (pet_id, since_version DESC, image_id)"
        " WHERE until_version IS NULL AND cluster_number = -1"
    )


def _create_heroes() -> None:
    op.create_table(
        "cluster_heroes",
        sa.Column("cluster_id", sa.Uuid, sa.ForeignKey("pet_clusters.id"), primary_key=True),
        _id("image_id", primary_key=True),
        _id("pet_id"),
        sa.Column("cluster_number", sa.Integer, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("score", sa.Double, nullable=False),
        *_held(),
        _time("selected_at", nullable=False),
    )
    op.execute("CREATE INDEX cluster_heroes_history ON cluster_heroes (pet_id, cluster_number, since_version)")
    op.execute(
        "CREATE UNIQUE INDEX cluster_heroes_now ON cluster_heroes (pet_id, cluster_number, rank)"
        " WHERE until_version IS NULL"
    )


def _create_summaries() -> None:
    op.create_table(
        "cluster_summaries",
        _id("pet_id", primary_key=True),
        sa.Column("cluster_number", sa.Integer, primary_key=True),
        sa.Column("since_version", sa.BigInteger, primary_key=True),
        sa.Column("until_version", sa.BigInteger),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("member_count", sa.Integer, nullable=False),
        sa.Column("tightness", sa.Double, nullable=False),
        sa.Column("merged_into", sa.Integer),
    )
    op.execute(
        "CREATE UNIQUE INDEX cluster_summaries_now ON cluster_summaries (pet_id, cluster_number)"
        " WHERE until_version IS NULL"
    )


def _create_bookkeeping() -> None:
    op.create_table(
        "projection_positions",
        sa.Column("projection", sa.Text, primary_key=True),
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
    )
    op.execute("CREATE SEQUENCE generation_numbers")
    op.create_table(
        "projection_generations",
        sa.Column("projection", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        _time("started_at", nullable=False, server_default=sa.func.now()),
    )
    op.execute(
        "INSERT INTO projection_generations (projection, generation) VALUES ('live', nextval('generation_numbers'))"
    )


def downgrade() -> None:
    op.drop_table("projection_generations")
    op.execute("DROP SEQUENCE generation_numbers")
    op.drop_table("projection_positions")
    op.drop_table("cluster_summaries")
    op.drop_table("cluster_heroes")
    op.drop_table("cluster_members")
    op.drop_table("cluster_snapshots")
    op.drop_table("pet_clusters")
    op.drop_table("cluster_job_commands")
    op.drop_table("cluster_jobs")
    JOB_STATUS.drop(op.get_bind())
