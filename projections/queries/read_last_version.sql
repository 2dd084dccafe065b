-- Read the number of a pet's last version, 0 when it has none.
SELECT coalesce(max(version), 0) FROM pet_clusters WHERE pet_id = $1
