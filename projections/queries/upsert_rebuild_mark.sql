-- Note how far a partition of a rebuild is.
INSERT INTO rebuild_partitions (generation, partition, copied, next_offset, end_offset, events, versions, images)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (generation, partition) DO UPDATE SET
    copied = excluded.copied, next_offset = excluded.next_offset, end_offset = excluded.end_offset,
    events = excluded.events, versions = excluded.versions, images = excluded.images, updated_at = now()
