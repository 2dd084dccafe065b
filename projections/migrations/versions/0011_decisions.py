"""Users' decisions and what became of them, and where the clusters of a pet come from.

Revision: 0011
Follows: 0010

Expands only: the release before reads and writes neither. It does not know the messages of a decision and would
dead-letter them, so `project` is upgraded before anybody may decide. Taken back, the rows are gone; a rebuild brings
them back from the log.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from projections.migrations.online import build_index

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

LINEAGE = "cluster_summaries_lineage"
ON = "cluster_summaries (pet_id, cluster_number) WHERE merged_into IS NOT NULL OR split_from IS NOT NULL"


def upgrade() -> None:
    # First: what stands before an autocommit block is committed with it, and would stand in the way of a repeat.
    with op.get_context().autocommit_block():
        build_index(LINEAGE, ON)
    op.create_table(
        "pet_decisions",
        sa.Column("pet_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("decision_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("arguments", pg.JSONB, nullable=False),
        sa.Column("expected_version", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("cluster", sa.Integer),
        sa.Column("images", sa.Integer, nullable=False),
        sa.Column("undone_by", sa.Text),
        sa.Column("log_partition", sa.Integer, nullable=False),
        sa.Column("log_offset", sa.BigInteger, nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute("CREATE INDEX pet_decisions_newest ON pet_decisions (pet_id, log_offset DESC)")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {LINEAGE}")
    op.drop_table("pet_decisions")
