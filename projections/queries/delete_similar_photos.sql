-- Delete some of a pet's vectors that stood in the log before an offset.
DELETE FROM {photos} WHERE pet_id = $1 AND image_id = ANY ($2::text[]) AND log_offset < $3
