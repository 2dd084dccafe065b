"""Alembic's script folder; `projections.migrate` runs it."""
