-- List the jobs that carry this id: the given pet's, or one of each pet (pet NULL), newest first.
SELECT id, pet_id, job_id, status::text AS status, attempts, last_error, enqueued_at, started_at, completed_at,
       image_count, placed, known, failed, failed_images, version, reason, source, run
FROM cluster_jobs
WHERE job_id = $1
  AND ($2::text IS NULL OR pet_id = $2::text)
ORDER BY enqueued_at DESC, id DESC
LIMIT 100
