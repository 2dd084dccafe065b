-- Move the members of merged clusters to the clusters that took them over, save those images that a later step places.
WITH closed AS (
    UPDATE cluster_members AS m
    SET until_version = $3::bigint
    FROM unnest($4::int[], $5::int[]) AS merged (source, target)
    WHERE m.pet_id = $2::text
      AND m.cluster_number = merged.source
      AND m.until_version IS NULL
      AND m.image_id <> ALL ($6::text[])
    RETURNING m.image_id, m.score, m.metadata, merged.target
)
INSERT INTO cluster_members (cluster_id, image_id, pet_id, cluster_number, score, distance, since_version, metadata)
SELECT $1::uuid, image_id, $2::text, target, score, 1 - score, $3::bigint, metadata || '{"rule": "merged"}'
FROM closed
