-- List the members that a cluster has now, best score first, from behind a member ($3, $4) on.
SELECT image_id, score, since_version, metadata
FROM cluster_members
WHERE pet_id = $1 AND cluster_number = $2 AND until_version IS NULL
  AND score <= $3 AND (score < $3 OR image_id > $4)
ORDER BY score DESC, image_id
LIMIT $5
