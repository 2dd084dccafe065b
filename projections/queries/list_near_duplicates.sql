-- List the images of a pet that are near-duplicates of image $2, or the same picture as it, at version $3; at most $4.
SELECT m.image_id
FROM cluster_members AS m
WHERE m.pet_id = $1 AND m.metadata ->> 'duplicate_of' = $2
  AND m.since_version <= $3 AND coalesce(m.until_version > $3, true)
ORDER BY m.image_id
LIMIT $4
