-- Remember one command of a job as it was asked; a repeat moves only where it stands last, which the sweeper goes by.
-- Not one that was accepted before a purge of its pet.
INSERT INTO cluster_job_commands AS c (
    cluster_job_id, run, requeue, part, attempt, parts, image_count, command, log_partition, log_offset, enqueued_at
)
SELECT
    j.id, $2::int, $3::text, $4::int, $5::int, $6::int, $7::int, $8::jsonb, $9::int, $10::bigint, $11::timestamptz
FROM cluster_jobs AS j
WHERE j.id = $1::uuid AND NOT EXISTS (
    SELECT FROM pet_purges AS p
    WHERE p.pet_id = j.pet_id AND p.purged_at IS NOT NULL AND $11::timestamptz <= p.accepted_until
)
ON CONFLICT (cluster_job_id, run, requeue, part, attempt) DO UPDATE
SET log_partition = excluded.log_partition, log_offset = excluded.log_offset
WHERE c.log_offset < excluded.log_offset
