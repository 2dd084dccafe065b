-- Merge one message about a job into its row: `progress` (run, ended, try, state) only grows, whatever came first.
-- Not of a job that was accepted ($21) before a purge of its pet; of unknown age ($22): nothing that tells of before it.
INSERT INTO cluster_jobs AS j (
    id, pet_id, job_id, status, attempts, progress, enqueued_at, started_at, completed_at,
    image_count, placed, known, failed, failed_images, version, last_error, outcome_progress, reason, source, run
)
SELECT
    $1::uuid, $2::text, $3::text, $4::cluster_job_status, $5::int, $6::bigint, $7::timestamptz, $8::timestamptz,
    $9::timestamptz, $10::int, $11::int, $12::int, $13::int, $14::jsonb, $15::bigint, $16::text, $17::bigint, $18::text,
    $19::text, $20::int
WHERE NOT EXISTS (
    SELECT FROM pet_purges AS p
    WHERE p.pet_id = $2::text AND p.purged_at IS NOT NULL AND (
        $21::timestamptz <= p.accepted_until
        OR $22::boolean AND (
            $15::bigint BETWEEN 1 AND p.last_version
            OR $21::timestamptz <= p.purged_at AND NOT EXISTS (SELECT FROM cluster_jobs WHERE id = $1::uuid)
        )
    )
)
ON CONFLICT (id) DO UPDATE SET
    status = CASE WHEN excluded.progress > j.progress THEN excluded.status ELSE j.status END,
    attempts = CASE WHEN excluded.progress > j.progress THEN excluded.attempts ELSE j.attempts END,
    progress = greatest(j.progress, excluded.progress),
    run = greatest(j.run, excluded.run),
    enqueued_at = least(j.enqueued_at, excluded.enqueued_at),
    started_at = CASE
        WHEN excluded.run > j.run THEN excluded.started_at
        WHEN excluded.run = j.run THEN least(j.started_at, excluded.started_at)
        ELSE j.started_at END,
    completed_at = CASE WHEN excluded.progress > j.progress THEN excluded.completed_at ELSE j.completed_at END,
    image_count = CASE
        WHEN excluded.run > j.run THEN excluded.image_count
        WHEN excluded.run = j.run THEN greatest(j.image_count, excluded.image_count)
        ELSE j.image_count END,
    placed = CASE WHEN excluded.progress > j.progress THEN excluded.placed ELSE j.placed END,
    known = CASE WHEN excluded.progress > j.progress THEN excluded.known ELSE j.known END,
    failed = CASE WHEN excluded.progress > j.progress THEN excluded.failed ELSE j.failed END,
    failed_images = CASE WHEN excluded.progress > j.progress THEN excluded.failed_images ELSE j.failed_images END,
    version = CASE WHEN excluded.progress > j.progress THEN excluded.version ELSE j.version END,
    last_error = CASE
        WHEN excluded.outcome_progress > j.outcome_progress THEN excluded.last_error ELSE j.last_error END,
    outcome_progress = greatest(j.outcome_progress, excluded.outcome_progress),
    reason = coalesce(nullif(j.reason, ''), excluded.reason),
    source = coalesce(nullif(j.source, ''), excluded.source)
