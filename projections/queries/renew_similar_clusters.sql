-- Make the directions of some clusters of a pet anew, at version $4, from the members that have a vector.
INSERT INTO {clusters} AS c (pet_id, cluster_number, version, member_count, vector)
SELECT m.pet_id, m.cluster_number, $4, due.member_count, avg(p.vector)
FROM unnest($2::int[], $3::int[]) AS due (cluster_number, member_count)
JOIN cluster_members AS m
    ON m.pet_id = $1 AND m.cluster_number = due.cluster_number AND m.until_version IS NULL
JOIN {photos} AS p ON p.pet_id = m.pet_id AND p.image_id = m.image_id
GROUP BY m.pet_id, m.cluster_number, due.member_count
ON CONFLICT (pet_id, cluster_number) DO UPDATE
SET version = excluded.version, member_count = excluded.member_count, vector = excluded.vector
