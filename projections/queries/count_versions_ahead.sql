-- Count the versions whose facts lie beyond the ends of the log ($1: partitions, $2: their next offsets).
SELECT count(*) AS versions, count(DISTINCT v.pet_id) AS pets
FROM pet_clusters v JOIN unnest($1::int[], $2::bigint[]) AS log (partition, next_offset) ON log.partition = v.log_partition
WHERE v.log_offset >= log.next_offset
