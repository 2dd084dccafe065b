-- List the models whose vectors are indexed.
SELECT id, model, dimension FROM similar_models ORDER BY id
