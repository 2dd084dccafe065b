-- Take the turn to read a partition for as long as this connection is ours; false when another process has it.
SELECT pg_try_advisory_lock(7223013, $1)
