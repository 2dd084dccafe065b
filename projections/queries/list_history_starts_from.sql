-- Of the next $4 pets behind $1: the version from which history is kept: $2, else the one that held at $3; at most the last.
SELECT
    pet_id,
    least(max(version), coalesce($2::bigint, max(version) FILTER (WHERE updated_at <= $3::timestamptz), 1)) AS version
FROM pet_clusters
WHERE pet_id > $1::text
GROUP BY pet_id
ORDER BY pet_id
LIMIT $4
