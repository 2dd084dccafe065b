-- Take some pets that are due, whose rows have the version that was told and whose vectors were read up to its fact.
SELECT s.pet_id, s.looked, c.version, c.log_offset, c.model
FROM similar_pets AS s
CROSS JOIN LATERAL (
    SELECT version, log_partition, log_offset, model FROM pet_clusters
    WHERE pet_id = s.pet_id ORDER BY version DESC LIMIT 1
) AS c
JOIN projection_positions AS v
    ON v.projection = 'similar' AND v.topic = $1 AND v.partition = c.log_partition AND v.next_offset > c.log_offset
WHERE s.looked < s.version AND c.version >= s.version
ORDER BY s.pet_id
LIMIT $2
FOR UPDATE OF s SKIP LOCKED
