-- Delete a pet's directions up to a version.
DELETE FROM {clusters} WHERE pet_id = $1 AND version <= $2
