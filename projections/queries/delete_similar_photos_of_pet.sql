-- Delete a pet's vectors that stood in the log before an offset.
DELETE FROM {photos} WHERE pet_id = $1 AND log_offset < $2
