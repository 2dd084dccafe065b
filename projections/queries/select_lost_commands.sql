-- Find commands to be submitted again: of jobs without an end of which nothing lies at or behind the partition's offset
-- ($1, $2) below which all is settled; the last try of each part, neither recorded nor swept for $3 seconds.
SELECT c.cluster_job_id, c.run, c.requeue, c.part, c.attempt, c.command::text AS command
FROM cluster_jobs AS j
JOIN cluster_job_commands AS c ON c.cluster_job_id = j.id AND c.run = j.run
JOIN unnest($1::int[], $2::bigint[]) AS settled (partition, next_offset) ON settled.partition = c.log_partition
WHERE j.status IN ('queued', 'processing')
  AND greatest(c.recorded_at, c.swept_at) < now() - make_interval(secs => $3)
  AND NOT EXISTS (
      SELECT FROM cluster_job_commands AS other
      WHERE other.cluster_job_id = c.cluster_job_id AND other.run = c.run AND other.requeue = c.requeue
        AND (
            other.log_offset >= settled.next_offset
            OR other.part = c.part AND other.attempt > c.attempt
        )
  )
ORDER BY c.recorded_at, c.cluster_job_id, c.part
LIMIT $4
