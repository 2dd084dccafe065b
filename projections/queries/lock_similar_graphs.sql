-- Take the turn to build indexes for as long as this connection is ours; false when another process has it.
SELECT pg_try_advisory_lock(7223012)
