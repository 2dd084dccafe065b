"""Near-duplicates by the image that they are alike to, and where a cluster was split from.

Revision: 0010
Follows: 0009

Expands only: the release before neither reads nor writes the column, and the index covers no row that it writes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from projections.migrations.online import build_index

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INDEX = "cluster_members_near_duplicates"
ON = "cluster_members (pet_id, (metadata ->> 'duplicate_of'), image_id) WHERE metadata ->> 'duplicate_of' IS NOT NULL"


def upgrade() -> None:
    # First: what stands before an autocommit block is committed with it, and would stand in the way of a repeat.
    with op.get_context().autocommit_block():
        build_index(INDEX, ON)
    op.add_column("cluster_summaries", sa.Column("split_from", sa.Integer))


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
    op.drop_column("cluster_summaries", "split_from")
