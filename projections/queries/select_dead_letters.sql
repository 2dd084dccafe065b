-- Read the letters of a filter (each part NULL for any), those of one run of a job behind each other.
SELECT id, subject, kind, reason, attempts, run, source_id, failed_at, length(payload) AS payload_bytes,
       pet_id, job_id, image_id, state, action_id, acted_at, who, why
FROM dead_letters
WHERE ($1::text IS NULL OR state = $1)
  AND ($2::text IS NULL OR subject = $2)
  AND ($3::text IS NULL OR kind = $3)
  AND ($4::text IS NULL OR pet_id = $4)
  AND ($5::text IS NULL OR job_id = $5)
  AND ($6::timestamptz IS NULL OR failed_at >= $6)
  AND ($7::timestamptz IS NULL OR failed_at < $7)
ORDER BY pet_id, job_id, run, id
