-- Read the stored positions of one projection's partitions.
SELECT topic, partition, next_offset FROM projection_positions WHERE projection = $1
