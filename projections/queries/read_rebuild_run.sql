-- The newest rebuild in one of the states $1.
SELECT generation, state, code, positions FROM rebuild_runs WHERE state = ANY ($1::text[]) ORDER BY generation DESC LIMIT 1
