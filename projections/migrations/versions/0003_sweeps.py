"""When a command was recorded here, and when the sweeper submitted it again.

Revision: 0003
Follows: 0002

Expands only: the release before goes on writing, since every new column has a default. No table is locked for longer
than a moment; what stands in an autocommit block is done again when a run that failed is repeated.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from projections.migrations.online import build_index

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for column in (
            sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
            sa.Column("swept_at", sa.DateTime(timezone=True)),
            sa.Column("sweeps", sa.Integer, nullable=False, server_default="0"),
        ):
            op.add_column("cluster_job_commands", column, if_not_exists=True)
        build_index("cluster_jobs_without_end", "cluster_jobs (id) WHERE status IN ('queued', 'processing')")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS cluster_jobs_without_end")
    for column in ("sweeps", "swept_at", "recorded_at"):
        op.drop_column("cluster_job_commands", column)
