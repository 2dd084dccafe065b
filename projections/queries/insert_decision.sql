-- Note what became of a decision; changes nothing when it is known, or was destroyed by a purge since.
INSERT INTO pet_decisions (
    pet_id, decision_id, kind, arguments, expected_version, who, why, accepted, code, reason, version, cluster, images,
    undone_by, log_partition, log_offset, decided_at
)
SELECT
    $1::text, $2::text, $3::text, $4::jsonb, $5::bigint, $6::text, $7::text, $8::boolean, $9::text, $10::text,
    $11::bigint, $12::int, $13::int, $14::text, $15::int, $16::bigint, $17::timestamptz
WHERE NOT EXISTS (SELECT FROM pet_purges WHERE pet_id = $1::text AND log_offset > $16::bigint)
ON CONFLICT (pet_id, decision_id) DO NOTHING
