"""Backfill: jobs for pets that were there before the service."""
