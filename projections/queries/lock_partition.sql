-- Wait until nobody writes what stands in partition $1 of any topic, and hold up who would, until this transaction ends.
SELECT topic FROM projection_positions WHERE projection = 'postgres' AND partition = $1 ORDER BY topic FOR UPDATE
