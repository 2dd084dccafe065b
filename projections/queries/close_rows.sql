-- End the rows that a version changes: the members named, the summaries of the clusters named, heroes no longer the same.
WITH closed_members AS (
    UPDATE cluster_members
    SET until_version = $2::bigint
    WHERE pet_id = $1::text AND image_id = ANY ($3::text[]) AND until_version IS NULL
), closed_summaries AS (
    UPDATE cluster_summaries AS s
    SET until_version = $2::bigint, merged_into = changed.merged_into
    FROM unnest($4::int[], $5::int[]) AS changed (cluster_number, merged_into)
    WHERE s.pet_id = $1::text AND s.cluster_number = changed.cluster_number AND s.until_version IS NULL
)
UPDATE cluster_heroes AS h
SET until_version = $2::bigint
WHERE h.pet_id = $1::text AND h.cluster_number = ANY ($4::int[]) AND h.until_version IS NULL
  AND NOT EXISTS (
      SELECT FROM unnest($6::int[], $7::text[], $8::float8[], $9::int[], $10::jsonb[])
                  AS new (cluster_number, image_id, score, rank, parts)
      WHERE new.cluster_number = h.cluster_number AND new.image_id = h.image_id
        AND new.score = h.score AND new.rank = h.rank
        AND new.parts IS NOT DISTINCT FROM h.parts
  )
