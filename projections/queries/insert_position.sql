-- Make sure that a position row exists; one that exists stays as it is.
INSERT INTO projection_positions (projection, topic, partition, next_offset) VALUES ($1, $2, $3, 0)
ON CONFLICT DO NOTHING
