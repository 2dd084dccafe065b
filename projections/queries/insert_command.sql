-- Remember one command of a job as it was asked; a repeat moves only where it stands last, which the sweeper goes by.
INSERT INTO cluster_job_commands AS c (
    cluster_job_id, run, requeue, part, attempt, parts, image_count, command, log_partition, log_offset, enqueued_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (cluster_job_id, run, requeue, part, attempt) DO UPDATE
SET log_partition = excluded.log_partition, log_offset = excluded.log_offset
WHERE c.log_offset < excluded.log_offset
