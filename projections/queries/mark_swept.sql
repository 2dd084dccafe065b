-- Note that a command was submitted again.
UPDATE cluster_job_commands SET swept_at = now(), sweeps = sweeps + 1
WHERE cluster_job_id = $1 AND run = $2 AND requeue = $3 AND part = $4 AND attempt = $5
