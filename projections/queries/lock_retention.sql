-- Take the turn to trim for as long as this connection is ours; false when another one has it.
SELECT pg_try_advisory_lock(7223012)
