"""What rebuilds have done, so that one that was killed goes on, and others can look on.

Revision: 0006
Follows: 0005

Expands only: nobody but a rebuild reads or writes these tables.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rebuild_runs",
        sa.Column("generation", sa.BigInteger, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        _time("started_at", nullable=False, server_default=sa.func.now()),
        _time("ended_at"),
        sa.Column("positions", sa.Text, nullable=False, server_default="{}"),
        sa.CheckConstraint(
            "state IN ('building', 'built', 'swapped', 'rolled_back', 'given_up')", name="rebuild_runs_state"
        ),
    )
    op.create_table(
        "rebuild_partitions",
        sa.Column(
            "generation",
            sa.BigInteger,
            sa.ForeignKey("rebuild_runs.generation", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("partition", sa.Integer, primary_key=True),
        sa.Column("copied", sa.Boolean, nullable=False, server_default=sa.false()),
        _count("next_offset"),
        _count("end_offset"),
        _count("events"),
        _count("versions"),
        _count("images"),
        _time("updated_at", nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    op.drop_table("rebuild_partitions")
    op.drop_table("rebuild_runs")


def _count(name: str) -> sa.Column:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _time(name: str, **options: object) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), **options)
