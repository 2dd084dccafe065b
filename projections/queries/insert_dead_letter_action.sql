-- Keep an action on dead letters, but one of before a purge of their pet; a repeat changes nothing.
INSERT INTO dead_letter_actions (
    id, kind, letters, pet_id, job_id, who, why, at, message, log_partition, log_offset
)
SELECT
    $1::uuid, $2::text, $3::uuid[], $4::text, $5::text, $6::text, $7::text, $8::timestamptz, $9::bytea, $10::int,
    $11::bigint
WHERE NOT EXISTS (
    SELECT FROM pet_purges AS p
    WHERE p.pet_id = $4::text AND p.purged_at IS NOT NULL
      AND $8::timestamptz <= greatest(p.purged_at, p.accepted_until)
)
ON CONFLICT (id) DO NOTHING
