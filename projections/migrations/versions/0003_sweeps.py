"""When a command was recorded here, and when the sweeper submitted it again.

Revision: 0003
Follows: 0002

Expands only: the release before goes on writing, since every new column has a default.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "cluster_job_commands",
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.add_column("cluster_job_commands", sa.Column("swept_at", sa.DateTime(timezone=True)))
    op.add_column("cluster_job_commands", sa.Column("sweeps", sa.Integer, nullable=False, server_default="0"))
    op.execute("CREATE INDEX cluster_jobs_without_end ON cluster_jobs (id) WHERE status IN ('queued', 'processing')")


def downgrade() -> None:
    op.execute("DROP INDEX cluster_jobs_without_end")
    for column in ("sweeps", "swept_at", "recorded_at"):
        op.drop_column("cluster_job_commands", column)
