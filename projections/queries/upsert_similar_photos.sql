-- Write photos' vectors; one that the log embedded again later replaces the one of before.
INSERT INTO {photos} AS p (pet_id, image_id, log_offset, at, vector)
SELECT pet_id, image_id, log_offset, at, vector::halfvec
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::text[])
     AS new (pet_id, image_id, log_offset, at, vector)
ON CONFLICT (pet_id, image_id) DO UPDATE
SET log_offset = excluded.log_offset, at = excluded.at, vector = excluded.vector
WHERE p.log_offset < excluded.log_offset
