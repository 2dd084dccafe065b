-- Note that the similarity index goes by the live generation; a row when it went by another one, or by none.
INSERT INTO projection_generations AS g (projection, generation)
SELECT 'similar', live.generation FROM projection_generations AS live
WHERE live.projection = 'live' AND NOT EXISTS (
    SELECT FROM projection_generations AS own WHERE own.projection = 'similar' AND own.generation = live.generation
)
ON CONFLICT (projection) DO UPDATE SET generation = excluded.generation, started_at = now()
WHERE g.generation <> excluded.generation
RETURNING generation
