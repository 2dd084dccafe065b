-- The live rows are of this generation from now on.
UPDATE projection_generations SET generation = $1, started_at = now() WHERE projection = 'live'
