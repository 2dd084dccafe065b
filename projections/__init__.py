"""From versions to what callers read: Postgres, the Redis cache, and their rebuild from the log."""
