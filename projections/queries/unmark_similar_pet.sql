-- Forget what a pet was to be looked at for, up to its purge; its next version is looked at whole.
UPDATE similar_pets SET version = NULL, looked = 0 WHERE pet_id = $1 AND coalesce(version, 0) <= $2
