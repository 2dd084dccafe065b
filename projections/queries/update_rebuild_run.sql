-- Note how a rebuild stands, and where the live projector stood when it was swapped.
UPDATE rebuild_runs
SET state = $2::text, positions = coalesce($3::text, positions),
    ended_at = CASE WHEN $2::text IN ('building', 'built') THEN NULL ELSE now() END
WHERE generation = $1
