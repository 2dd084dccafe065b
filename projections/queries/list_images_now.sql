-- Read where some of a pet's images lie now; -1 for those in no cluster.
SELECT image_id, cluster_number
FROM cluster_members
WHERE pet_id = $1 AND image_id = ANY ($2::text[]) AND until_version IS NULL
