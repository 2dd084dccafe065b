-- Take the turn to sweep for as long as this connection is ours; false when another projector has it.
SELECT pg_try_advisory_lock(7223011)
