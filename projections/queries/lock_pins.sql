-- Wait until nobody trims, and hold up who would, until this transaction ends.
SELECT pg_advisory_xact_lock(7223013)
