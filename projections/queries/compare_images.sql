-- Compare where a pet's images lay at versions $2 and $3: those whose rows differ, by id, from behind $4 on.
WITH before AS (
    SELECT image_id, cluster_number, since_version
    FROM cluster_members
    WHERE pet_id = $1 AND until_version > $2 AND until_version <= $3
      AND since_version <= $2 AND image_id > $4
), after AS (
    SELECT image_id, cluster_number, since_version, score, metadata
    FROM cluster_members
    WHERE pet_id = $1 AND since_version > $2 AND since_version <= $3
      AND coalesce(until_version > $3, true) AND image_id > $4
)
SELECT
    image_id, before.since_version IS NOT NULL AS was_there, after.since_version IS NOT NULL AS is_there,
    before.cluster_number AS from_cluster, after.cluster_number AS to_cluster,
    after.score, after.since_version, after.metadata
FROM before
FULL JOIN after USING (image_id)
ORDER BY image_id
LIMIT $5
