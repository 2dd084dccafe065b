-- Move the members that some components took from one cluster to another, save those images that a later step places.
WITH closed AS (
    UPDATE cluster_members AS m
    SET until_version = $3::bigint
    FROM unnest($4::int[], $5::int[], $6::int[]) AS moved (component, source, target)
    WHERE m.pet_id = $2::text
      AND m.cluster_number = moved.source
      AND m.until_version IS NULL
      AND (m.metadata ->> 'component')::int = moved.component
      AND m.image_id <> ALL ($7::text[])
    RETURNING m.image_id, m.score, m.metadata, moved.target
)
INSERT INTO cluster_members (cluster_id, image_id, pet_id, cluster_number, score, distance, since_version, metadata)
SELECT $1::uuid, image_id, $2::text, target, score, 1 - score, $3::bigint, metadata || '{"rule": "regrouped"}'
FROM closed
