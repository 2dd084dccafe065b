"""Runs of a job, and dead letters with what operators did to them.

Revision: 0002
Follows: 0001

Expands only: the release before goes on writing, since every new column has a default. The primary key of
`cluster_job_commands` is built again while the table is locked.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_RUN_BITS = 34
"""Where the run begins in `cluster_jobs.progress`, see `projections.jobs`."""


def upgrade() -> None:
    op.add_column("cluster_jobs", sa.Column("run", sa.Integer, nullable=False, server_default="1"))
    op.add_column("cluster_job_commands", sa.Column("run", sa.Integer, nullable=False, server_default="1"))
    op.add_column("cluster_job_commands", sa.Column("requeue", sa.Text, nullable=False, server_default=""))
    _replace_key("cluster_job_id", "run", "requeue", "part", "attempt")
    _create_letters()
    _create_actions()


def _create_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid, primary_key=True),
        _text("subject"),
        _text("kind"),
        _text("reason"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("run", sa.Integer, nullable=False),
        _text("source_id"),
        _time("failed_at", nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        _id("pet_id"),
        _id("job_id"),
        _id("image_id"),
        *_position(),
        sa.Column("state", sa.Text, nullable=False, server_default="open"),
        sa.Column("action_id", sa.Uuid),
        _time("acted_at"),
        sa.Column("who", sa.Text, nullable=False, server_default=""),
        sa.Column("why", sa.Text, nullable=False, server_default=""),
        sa.CheckConstraint("state IN ('open', 'requeued', 'discarded')", name="dead_letters_state"),
    )
    op.execute("CREATE INDEX dead_letters_open ON dead_letters (failed_at DESC, id DESC) WHERE state = 'open'")
    op.execute("CREATE INDEX dead_letters_by_time ON dead_letters (failed_at DESC, id DESC)")
    op.execute("CREATE INDEX dead_letters_of_pet ON dead_letters (pet_id, failed_at DESC, id DESC)")
    op.execute("CREATE INDEX dead_letters_of_run ON dead_letters (pet_id, job_id, run)")
    op.execute("CREATE INDEX dead_letters_by_kind ON dead_letters (kind, failed_at DESC, id DESC)")


def _create_actions() -> None:
    op.create_table(
        "dead_letter_actions",
        sa.Column("id", sa.Uuid, primary_key=True),
        _text("kind"),
        sa.Column("letters", pg.ARRAY(sa.Uuid), nullable=False),
        _id("pet_id"),
        _id("job_id"),
        _text("who"),
        _text("why"),
        _time("at", nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
        *_position(),
    )
    op.execute("CREATE INDEX dead_letter_actions_by_letter ON dead_letter_actions USING gin (letters)")


def downgrade() -> None:
    op.drop_table("dead_letter_actions")
    op.drop_table("dead_letters")
    # The tables are to be filled from the start when they are made again.
    op.execute(
        "DELETE FROM projection_positions"
        " WHERE topic LIKE '%media.deadletter' OR topic LIKE '%media.deadletter.actions'"
    )
    op.execute("DELETE FROM cluster_job_commands WHERE run > 1")
    _replace_key("cluster_job_id", "part", "attempt")
    op.drop_column("cluster_job_commands", "requeue")
    op.drop_column("cluster_job_commands", "run")
    op.execute(
        f"UPDATE cluster_jobs SET progress = progress % (1::bigint << {_RUN_BITS}),"
        f" outcome_progress = outcome_progress % (1::bigint << {_RUN_BITS}) WHERE run > 1"
    )
    op.drop_column("cluster_jobs", "run")


def _replace_key(*columns: str) -> None:
    op.drop_constraint("cluster_job_commands_pkey", "cluster_job_commands")
    op.create_primary_key("cluster_job_commands_pkey", "cluster_job_commands", list(columns))


def _id(name: str) -> sa.Column:
    return sa.Column(name, sa.Text(collation="C"), nullable=False, server_default="")


def _text(name: str) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False)


def _time(name: str, **options: object) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), **options)


def _position() -> tuple[sa.Column, sa.Column]:
    return (
        sa.Column("log_partition", sa.Integer, nullable=False),
        sa.Column("log_offset", sa.BigInteger, nullable=False),
    )
