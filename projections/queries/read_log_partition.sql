-- The partition of the log in which a pet's facts stand, as its last version tells.
SELECT log_partition FROM pet_clusters WHERE pet_id = $1 ORDER BY version DESC LIMIT 1
