-- The version of each partition of the log whose fact is the newest.
SELECT DISTINCT ON (log_partition) log_partition, log_offset, pet_id, updated_at
FROM pet_clusters ORDER BY log_partition, log_offset DESC
