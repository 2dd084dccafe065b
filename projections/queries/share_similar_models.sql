-- Keep the similarity index from being dropped until the transaction ends; the first statement of whoever writes it.
LOCK TABLE similar_models IN ACCESS SHARE MODE
