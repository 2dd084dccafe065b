-- Forget what was to be looked at, and of which rows: the next start looks at every pet.
WITH looked AS (DELETE FROM projection_generations WHERE projection = 'similar')
DELETE FROM similar_pets
