-- Count a pet's rows in {table} that are of before its purge: up to version $2, accepted up to $3, written up to $4.
SELECT count(*) FROM {table}
WHERE pet_id = $1::text AND ($2::bigint, $3::timestamptz, $4::timestamptz) IS NOT NULL AND ({before})
