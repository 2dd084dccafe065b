-- Read in which cluster an image lies now; no row when the album does not hold it.
SELECT cluster_number FROM cluster_members WHERE pet_id = $1 AND image_id = $2 AND until_version IS NULL
