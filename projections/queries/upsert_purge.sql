-- Note what a purge has removed; a repeat keeps the first receipt.
INSERT INTO pet_purges AS p (
    pet_id, purge_id, accepted_until, who, why, last_version, purged_at, log_partition, log_offset, removed
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (pet_id, purge_id) DO UPDATE SET
    accepted_until = excluded.accepted_until, last_version = excluded.last_version, purged_at = excluded.purged_at,
    log_partition = excluded.log_partition, log_offset = excluded.log_offset, removed = excluded.removed
WHERE p.purged_at IS NULL
