-- Raise the positions of projection $1 in topic $3 to those of projection $2.
INSERT INTO projection_positions AS p (projection, topic, partition, next_offset)
SELECT $1, topic, partition, next_offset FROM projection_positions WHERE projection = $2 AND topic = $3
ON CONFLICT (projection, topic, partition) DO UPDATE SET next_offset = excluded.next_offset
WHERE p.next_offset < excluded.next_offset
