-- Delete versions before the one at which each pet's history ($1, $2) begins, save pinned ones; at most $3.
DELETE FROM pet_clusters
WHERE id = ANY (ARRAY(
    SELECT v.id
    FROM unnest($1::text[], $2::bigint[]) AS start (pet_id, version)
    JOIN pet_clusters AS v ON v.pet_id = start.pet_id AND v.version < start.version
    WHERE NOT EXISTS (SELECT FROM pinned_versions AS p WHERE p.pet_id = v.pet_id AND p.version = v.version)
    LIMIT $3::int
))
