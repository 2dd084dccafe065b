"""What the similarity index keeps that needs no extension: the models it has tables for, and what it has to look at.

Revision: 0013
Follows: 0012

Expands only. The tables with vectors need pgvector and are made by `projections.similar.models` when a model is first
met, so that a Postgres without the extension serves as before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "similar_models",
        sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
        sa.Column("model", sa.Text(collation="C"), nullable=False, unique=True),
        sa.Column("dimension", sa.Integer, nullable=False),
    )
    op.create_table(
        "similar_pets",
        sa.Column("pet_id", sa.Text(collation="C"), primary_key=True),
        sa.Column("version", sa.BigInteger),
        sa.Column("looked", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("accepted_until", sa.DateTime(timezone=True)),
    )
    op.execute("CREATE INDEX similar_pets_due ON similar_pets (pet_id) WHERE looked < version")


def downgrade() -> None:
    op.execute(
        "DO $$ DECLARE name text; BEGIN"
        " FOR name IN SELECT format('similar_%s_%s', kind, id)"
        " FROM similar_models, (VALUES ('photos'), ('clusters')) AS kinds (kind)"
        " LOOP EXECUTE format('DROP TABLE IF EXISTS %I', name); END LOOP; END $$"
    )
    op.execute("DELETE FROM projection_positions WHERE projection = 'similar'")
    op.execute("DELETE FROM projection_generations WHERE projection = 'similar'")
    op.drop_table("similar_pets")
    op.drop_table("similar_models")
