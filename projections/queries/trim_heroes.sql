-- Delete the heroes that ended before each pet's history ($1, $2) begins and held at no pinned version; at most $3.
DELETE FROM cluster_heroes
WHERE ctid = ANY (ARRAY(
    SELECT r.ctid
    FROM unnest($1::text[], $2::bigint[]) AS start (pet_id, version)
    JOIN cluster_heroes AS r ON r.pet_id = start.pet_id AND r.until_version <= start.version
    WHERE NOT EXISTS (
        SELECT FROM pinned_versions AS p
        WHERE p.pet_id = r.pet_id AND p.version >= r.since_version AND p.version < r.until_version
    )
    LIMIT $3::int
))
