-- Read a cluster's direction, as text.
SELECT vector::text FROM {clusters} WHERE pet_id = $1 AND cluster_number = $2
