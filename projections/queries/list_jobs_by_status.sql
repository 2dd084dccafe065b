-- List the jobs that have a state now, newest first, from behind the cursor on (its parts NULL for the first page).
SELECT id, pet_id, job_id, status::text AS status, attempts, last_error, enqueued_at, started_at, completed_at,
       image_count, placed, known, failed, failed_images, version, reason, source, run
FROM cluster_jobs
WHERE status = $1::cluster_job_status
  AND (enqueued_at, id) < (
      coalesce($2::timestamptz, 'infinity'), coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  )
ORDER BY enqueued_at DESC, id DESC
LIMIT $4
