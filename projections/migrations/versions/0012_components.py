"""Members by their component, so that a component that moves is found without its cluster's other members.

Revision: 0012
Follows: 0011

Expands only: an index, built while others read and write. It stands on what the rows say already, so that those which
the release before writes meanwhile are found, too; a column beside it would have to be filled in every row there is.
Rows of an engine without components are not in it. At 10,000 members with 200 bytes each: 29 bytes a member.
"""

from __future__ import annotations

from alembic import op

from projections.migrations.online import build_index

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

INDEX = "cluster_members_component_now"
ON = (
    "cluster_members (pet_id, cluster_number, ((metadata ->> 'component')::int))"
    " WHERE until_version IS NULL AND metadata ->> 'component' IS NOT NULL"
)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        build_index(INDEX, ON)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
