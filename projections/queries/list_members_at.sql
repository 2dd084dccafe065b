-- List the members that a cluster had at a version ($6), best score first, from behind a member ($3, $4) on.
SELECT image_id, score, since_version, metadata
FROM cluster_members
WHERE pet_id = $1 AND cluster_number = $2
  AND since_version <= $6 AND coalesce(until_version > $6, true)
  AND score <= $3 AND (score < $3 OR image_id > $4)
ORDER BY score DESC, image_id
LIMIT $5
