-- Where the projector stands in topic $1.
SELECT partition, next_offset FROM projection_positions WHERE projection = 'postgres' AND topic = $1 ORDER BY partition
