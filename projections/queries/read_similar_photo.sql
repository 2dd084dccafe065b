-- Read a photo's vector, as text.
SELECT vector::text FROM {photos} WHERE pet_id = $1 AND image_id = $2
