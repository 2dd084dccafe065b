"""Runs of a job, and dead letters with what operators did to them.

Revision: 0002
Follows: 0001

Expands only: the release before goes on writing, since every new column has a default. No table is locked for longer
than a moment: the new primary key of `cluster_job_commands` is built beside the old one. What stands in an autocommit
block is done statement by statement, and done again when a run that failed is repeated.

Upgrade `project`, `fold`, `embed` and `bridge`, in this order, then `web`: the release before does not know `run` and
`requeue` of a command or a fact and leaves them out, so nobody may ask for a requeue before everybody understands one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from projections.migrations.online import build_key, swap_key

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ENDED_BIT = 33
"""Bit of an ended run in `cluster_jobs.progress` and `outcome_progress`, below the run; see `projections.jobs`."""


def upgrade() -> None:
    with op.get_context().autocommit_block():
        _add_columns()
        op.execute(_mark_ended("progress", "status IN ('succeeded', 'failed')"))
        op.execute(_mark_ended("outcome_progress", "outcome_progress > 0"))
        build_key("cluster_job_commands", ("cluster_job_id", "run", "requeue", "part", "attempt"))
    swap_key("cluster_job_commands")
    _create_letters()
    _create_actions()


def _mark_ended(column: str, rows: str) -> str:
    """Locks no reader out, and a repeat changes nothing."""
    return (
        f"UPDATE cluster_jobs SET {column} = {column} | (1::bigint << {_ENDED_BIT})"
        f" WHERE {rows} AND {column} & (1::bigint << {_ENDED_BIT}) = 0"
    )


def _add_columns() -> None:
    requeue = sa.Column("requeue", sa.Text, nullable=False, server_default="")
    op.add_column("cluster_jobs", _run(), if_not_exists=True)
    op.add_column("cluster_job_commands", _run(), if_not_exists=True)
    op.add_column("cluster_job_commands", requeue, if_not_exists=True)


def _run() -> sa.Column:
    return sa.Column("run", sa.Integer, nullable=False, server_default="1")


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
    with op.get_context().autocommit_block():
        op.execute("DELETE FROM cluster_job_commands WHERE run > 1")
        op.execute(
            f"UPDATE cluster_jobs SET progress = progress % (1::bigint << {_ENDED_BIT}),"
            f" outcome_progress = outcome_progress % (1::bigint << {_ENDED_BIT})"
        )
        build_key("cluster_job_commands", ("cluster_job_id", "part", "attempt"))
    op.drop_table("dead_letter_actions")
    op.drop_table("dead_letters")
    # The tables are to be filled from the start when they are made again.
    op.execute(
        "DELETE FROM projection_positions"
        " WHERE topic LIKE '%media.deadletter' OR topic LIKE '%media.deadletter.actions'"
    )
    swap_key("cluster_job_commands")
    op.drop_column("cluster_job_commands", "requeue")
    op.drop_column("cluster_job_commands", "run")
    op.drop_column("cluster_jobs", "run")


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
