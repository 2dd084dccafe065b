"""Comparing what stands in the table, Postgres and Redis with the log: the processes, and what the operator sees."""
