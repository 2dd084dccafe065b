-- Wait for everybody who reads or writes the similarity index, and hold off who comes.
LOCK TABLE similar_models IN ACCESS EXCLUSIVE MODE
