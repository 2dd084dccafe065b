-- Keep dead letters, but those of before a purge of their pet; a repeat changes nothing. Returns those that are new.
INSERT INTO dead_letters (
    id, subject, kind, reason, attempts, run, source_id, failed_at, payload,
    pet_id, job_id, image_id, log_partition, log_offset
)
SELECT l.* FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::int[], $6::int[], $7::text[], $8::timestamptz[], $9::bytea[],
    $10::text[], $11::text[], $12::text[], $13::int[], $14::bigint[]
) AS l (
    id, subject, kind, reason, attempts, run, source_id, failed_at, payload,
    pet_id, job_id, image_id, log_partition, log_offset
)
WHERE NOT EXISTS (
    SELECT FROM pet_purges AS p
    WHERE p.pet_id = l.pet_id AND p.purged_at IS NOT NULL AND l.failed_at <= greatest(p.purged_at, p.accepted_until)
)
ON CONFLICT (id) DO NOTHING
RETURNING id, subject
