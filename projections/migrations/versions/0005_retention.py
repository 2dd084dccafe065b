"""Pinned versions, and what trimming needs: indexes by the end of a row, no foreign key from rows to their version.

Revision: 0005
Follows: 0004

A row holds since one version and until another, and so outlives the version that opened it: `cluster_id` still names
that version (`schemas.ids.version_key`), but the row behind it may have been trimmed. The release before goes on
writing: it only misses the keys' check. No table is locked for longer than a moment; what stands in an autocommit block
is done again when a run that failed is repeated.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from projections.migrations.online import build_index

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ROWS = ("cluster_members", "cluster_heroes", "cluster_summaries")
REFERRING = ("cluster_members", "cluster_heroes")
INDEXES = {
    **{f"{table}_ended": f"{table} (pet_id, until_version) WHERE until_version IS NOT NULL" for table in ROWS},
    "dead_letters_settled": "dead_letters (acted_at) WHERE state <> 'open'",
    "dead_letter_actions_by_time": "dead_letter_actions (at)",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, on in INDEXES.items():
            build_index(name, on)
    _lock_as_writers_do()
    for table in REFERRING:
        op.drop_constraint(f"{table}_cluster_id_fkey", table)
    op.create_table(
        "pinned_versions",
        sa.Column("pet_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("pinned_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    _lock_as_writers_do()
    op.drop_table("pinned_versions")
    for table in REFERRING:
        # Rows that outlived their version are there; only new ones can be checked.
        op.execute(
            f"ALTER TABLE {table} ADD CONSTRAINT {table}_cluster_id_fkey"
            " FOREIGN KEY (cluster_id) REFERENCES pet_clusters (id) NOT VALID"
        )


def _lock_as_writers_do() -> None:
    """A key's removal locks both of its tables, the referring one first: against a writer that is a deadlock."""
    op.execute(f"LOCK TABLE pet_clusters, {', '.join(REFERRING)} IN ACCESS EXCLUSIVE MODE")
