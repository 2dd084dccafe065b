-- List a pet's jobs, newest first, from behind the cursor on (both of its parts NULL for the first page).
SELECT id, pet_id, job_id, status::text AS status, attempts, last_error, enqueued_at, started_at, completed_at,
       image_count, placed, known, failed, failed_images, version, reason, source, run
FROM cluster_jobs
WHERE pet_id = $1
  AND ($2::timestamptz IS NULL OR (enqueued_at, id) < ($2::timestamptz, $3::uuid))
ORDER BY enqueued_at DESC, id DESC
LIMIT $4
