-- List where an image of a pet lay, newest first, from before a version on; `since` is empty for a removed version.
SELECT m.cluster_number, m.score, m.since_version, m.until_version, m.metadata, v.updated_at AS since
FROM cluster_members AS m
LEFT JOIN pet_clusters AS v ON v.pet_id = m.pet_id AND v.version = m.since_version
WHERE m.image_id = $2 AND m.pet_id = $1 AND m.since_version < $3
ORDER BY m.since_version DESC
LIMIT $4
