"""Which Kafka a database was filled from, so that it is not taken on with another by mistake.

Revision: 0007
Follows: 0006

Expands only: empty until the next start of a projector, which notes the Kafka that it meets.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("projection_generations", sa.Column("kafka_cluster", sa.Text))


def downgrade() -> None:
    op.drop_column("projection_generations", "kafka_cluster")
