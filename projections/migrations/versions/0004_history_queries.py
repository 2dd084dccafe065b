"""Indexes of the queries about history and about jobs by state.

Revision: 0004
Follows: 0003

Only indexes, each built while others read and write; what a run that failed has left is built again by the next.
`cluster_members_of_image` begins with the image, as the index that it replaces did, so whoever used that one uses this.
"""

from __future__ import annotations

from typing import Final

from alembic import op

from projections.migrations.online import build_index

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES: Final = {
    "cluster_members_begun": "cluster_members (pet_id, since_version)",
    "cluster_summaries_begun": "cluster_summaries (pet_id, since_version)",
    "cluster_members_of_image": "cluster_members (image_id, pet_id, since_version DESC)",
    "cluster_jobs_by_status": "cluster_jobs (status, enqueued_at DESC, id DESC)",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, on in INDEXES.items():
            build_index(name, on)
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS cluster_members_by_image")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        build_index("cluster_members_by_image", "cluster_members (image_id)")
        for name in INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
