-- Raise a position that only says how far something may be repeated; never lowers it.
INSERT INTO projection_positions AS p (projection, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT (projection, topic, partition) DO UPDATE SET next_offset = excluded.next_offset
WHERE p.next_offset < excluded.next_offset
