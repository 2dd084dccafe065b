-- Enter a model; waits for another process that is doing so.
INSERT INTO similar_models (model, dimension) VALUES ($1, $2) ON CONFLICT (model) DO NOTHING
