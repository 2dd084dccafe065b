-- Insert a version's row if it follows the pet's last one, a purged one too; a second writer waits here for the first, then inserts nothing.
INSERT INTO pet_clusters (
    id, pet_id, version, cluster_count, image_count, unclustered_count, metrics,
    job_id, model, policy_id, max_cluster_size, log_partition, log_offset, updated_at
)
SELECT
    $1::uuid, $2::text, $3::bigint, $4::int, $5::int, $6::int, $7::jsonb,
    $8::text, $9::text, $10::text, $11::int, $12::int, $13::bigint, $14::timestamptz
WHERE $3::bigint = 1 + coalesce(greatest(
    (SELECT max(version) FROM pet_clusters WHERE pet_id = $2::text),
    (SELECT last_version FROM purged_versions WHERE pet_id = $2::text)
), 0)
ON CONFLICT DO NOTHING
