"""What the score of a hero was made of.

Revision: 0009
Follows: 0008

Expands only: the release before neither reads nor writes the column; heroes that it writes have no parts.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cluster_heroes", sa.Column("parts", pg.JSONB))


def downgrade() -> None:
    op.drop_column("cluster_heroes", "parts")
