-- List the commands that one run of a job began with: of each part the first try that is known.
SELECT DISTINCT ON (requeue, part) command
FROM cluster_job_commands
WHERE cluster_job_id = $1 AND run = $2
ORDER BY requeue, part, attempt
