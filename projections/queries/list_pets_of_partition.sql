-- The next $3 pets behind $2 with a version of partition $1 of the log.
SELECT DISTINCT pet_id FROM pet_clusters WHERE log_partition = $1 AND pet_id > $2 ORDER BY 1 LIMIT $3
