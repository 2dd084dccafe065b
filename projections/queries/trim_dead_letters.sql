-- Delete letters that were requeued or discarded more than $1 days ago; at most $2.
DELETE FROM dead_letters
WHERE id = ANY (ARRAY(
    SELECT id FROM dead_letters
    WHERE state <> 'open' AND acted_at < now() - make_interval(days => $1::int)
    ORDER BY acted_at
    LIMIT $2::int
))
