-- List up to when jobs of these pets are ignored, of those that were purged.
SELECT pet_id, accepted_until FROM similar_pets WHERE pet_id = ANY ($1::text[]) AND accepted_until IS NOT NULL
