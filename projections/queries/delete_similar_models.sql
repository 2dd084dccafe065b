-- Forget all models of the similarity index.
DELETE FROM similar_models
