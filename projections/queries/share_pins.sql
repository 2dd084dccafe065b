-- Keep the pins as they are until this transaction ends; statements behind this one see all that were made before.
SELECT pg_advisory_xact_lock_shared(7223013)
