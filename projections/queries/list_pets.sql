-- The next $2 pets behind $1 that have a version.
SELECT DISTINCT pet_id FROM pet_clusters WHERE pet_id > $1 ORDER BY 1 LIMIT $2
