-- Read which version a pet has now, how many images and of which model; no row for a pet that has none.
SELECT version, image_count, model FROM pet_clusters WHERE pet_id = $1 ORDER BY version DESC LIMIT 1
