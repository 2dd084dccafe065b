-- Insert the members, summaries and heroes that hold from a version on; heroes that went on unchanged keep their rows.
WITH opened_members AS (
    INSERT INTO cluster_members (cluster_id, image_id, pet_id, cluster_number, score, distance, since_version, metadata)
    SELECT $1::uuid, image_id, $2::text, cluster_number, score, 1 - score, $3::bigint, metadata
    FROM unnest($5::text[], $6::int[], $7::float8[], $8::jsonb[]) AS m (image_id, cluster_number, score, metadata)
), opened_summaries AS (
    INSERT INTO cluster_summaries (
        pet_id, cluster_number, since_version, label, member_count, tightness, split_from
    )
    SELECT $2::text, cluster_number, $3::bigint, label, member_count, tightness, split_from
    FROM unnest($9::int[], $10::text[], $11::int[], $12::float8[], $13::int[])
         AS s (cluster_number, label, member_count, tightness, split_from)
)
INSERT INTO cluster_heroes (cluster_id, image_id, pet_id, cluster_number, rank, score, since_version, selected_at, parts)
SELECT $1::uuid, h.image_id, $2::text, h.cluster_number, h.rank, h.score, $3::bigint, $4::timestamptz, h.parts
FROM unnest($14::int[], $15::text[], $16::float8[], $17::int[], $18::jsonb[])
     AS h (cluster_number, image_id, score, rank, parts)
WHERE NOT EXISTS (
    SELECT FROM cluster_heroes AS held
    WHERE held.pet_id = $2::text AND held.cluster_number = h.cluster_number AND held.image_id = h.image_id
      AND held.until_version IS NULL
)
