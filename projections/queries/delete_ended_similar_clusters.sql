-- Delete the directions of a pet's clusters that hold no longer.
DELETE FROM {clusters} AS c
WHERE c.pet_id = $1 AND NOT EXISTS (
    SELECT FROM cluster_summaries AS s
    WHERE s.pet_id = c.pet_id AND s.cluster_number = c.cluster_number AND s.until_version IS NULL
)
