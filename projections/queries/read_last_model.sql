-- Read which model a pet's last version is of; no row when it has none.
SELECT model FROM pet_clusters WHERE pet_id = $1 ORDER BY version DESC LIMIT 1
