-- Remember one command of a job as it was asked; a repeat changes nothing.
INSERT INTO cluster_job_commands (
    cluster_job_id, part, attempt, parts, image_count, command, log_partition, log_offset, enqueued_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING
