-- Read one letter.
SELECT id, subject, kind, reason, attempts, run, source_id, failed_at, length(payload) AS payload_bytes,
       pet_id, job_id, image_id, state, action_id, acted_at, who, why
FROM dead_letters
WHERE id = $1
