-- List the open letters of the images of one run of a job.
SELECT id, subject, kind, reason, attempts, run, source_id, failed_at, length(payload) AS payload_bytes,
       pet_id, job_id, image_id, state, action_id, acted_at, who, why
FROM dead_letters
WHERE pet_id = $1 AND job_id = $2 AND run = $3 AND subject = 'image' AND state = 'open'
ORDER BY id
