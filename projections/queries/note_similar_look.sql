-- Note up to which version a pet was looked at.
UPDATE similar_pets SET looked = $2 WHERE pet_id = $1
