-- Note up to which version a pet's past is destroyed; never lowers it.
INSERT INTO purged_versions AS p (pet_id, last_version, purged_at) VALUES ($1, $2, $3)
ON CONFLICT (pet_id) DO UPDATE SET last_version = excluded.last_version, purged_at = excluded.purged_at
WHERE p.last_version < excluded.last_version
   OR p.last_version = excluded.last_version AND p.purged_at < excluded.purged_at
