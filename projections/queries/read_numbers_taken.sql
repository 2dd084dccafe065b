-- Read up to which number a pet's versions stand in the rows, and up to which a purge has destroyed them; 0 for none.
SELECT
    coalesce((SELECT max(version) FROM pet_clusters WHERE pet_id = $1), 0) AS last,
    coalesce((SELECT last_version FROM purged_versions WHERE pet_id = $1), 0) AS purged
