-- Delete snapshots of versions before the one at which each pet's history ($1, $2) begins, save pinned ones; at most $3.
DELETE FROM cluster_snapshots
WHERE ctid = ANY (ARRAY(
    SELECT s.ctid
    FROM unnest($1::text[], $2::bigint[]) AS start (pet_id, version)
    JOIN cluster_snapshots AS s ON s.pet_id = start.pet_id AND s.version < start.version
    WHERE NOT EXISTS (SELECT FROM pinned_versions AS p WHERE p.pet_id = s.pet_id AND p.version = s.version)
    LIMIT $3::int
))
