-- Read up to which version a purge has destroyed a pet's past, when, and the live generation; no row for other pets.
SELECT
    last_version, purged_at,
    (SELECT generation FROM projection_generations WHERE projection = 'live') AS generation
FROM purged_versions WHERE pet_id = $1
