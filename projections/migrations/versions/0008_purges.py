"""Purges of pets: what was asked for and what it removed, and up to which version a pet's past is gone.

Revision: 0008
Follows: 0007

Expands only: the release before reads and writes neither table. It does not know the messages of a purge and would
dead-letter them, so `project` is upgraded before anybody may ask for one. Taken back, the receipts are gone; the
numbers come back from the log, as a gap of the pet's next version.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pet_purges",
        _id("pet_id"),
        _id("purge_id"),
        _time("accepted_until", nullable=False),
        sa.Column("who", sa.Text, nullable=False, server_default=""),
        sa.Column("why", sa.Text, nullable=False, server_default=""),
        _time("recorded_at", nullable=False, server_default=sa.func.now()),
        sa.Column("last_version", sa.BigInteger),
        _time("purged_at"),
        sa.Column("log_partition", sa.Integer),
        sa.Column("log_offset", sa.BigInteger),
        sa.Column("removed", pg.JSONB),
        _time("cache_removed_at"),
    )
    op.create_table(
        "purged_versions",
        _id("pet_id"),
        sa.Column("last_version", sa.BigInteger, nullable=False),
        _time("purged_at", nullable=False),
    )


def downgrade() -> None:
    op.drop_table("purged_versions")
    op.drop_table("pet_purges")


def _id(name: str) -> sa.Column:
    return sa.Column(name, sa.Text(collation="C"), primary_key=True)


def _time(name: str, **options: object) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), **options)
