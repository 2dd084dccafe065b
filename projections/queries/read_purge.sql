-- Read one purge of a pet.
SELECT
    pet_id, purge_id, accepted_until, who, why, last_version, purged_at, log_partition, log_offset,
    removed::text AS removed, cache_removed_at
FROM pet_purges WHERE pet_id = $1 AND purge_id = $2
