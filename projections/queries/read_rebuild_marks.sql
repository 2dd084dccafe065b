-- How far each partition of a rebuild is.
SELECT partition, copied, next_offset, end_offset, events, versions, images
FROM rebuild_partitions WHERE generation = $1 ORDER BY partition
