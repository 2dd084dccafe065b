-- The generation of the live rows.
SELECT generation FROM projection_generations WHERE projection = 'live'
